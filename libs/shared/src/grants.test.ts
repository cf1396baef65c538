import { describe, expect, test } from "bun:test";
import { Fault } from "./fault.ts";
import { Grants, smallestGrants, type Use } from "./grants.ts";

function faultOf(...texts: string[]): Fault {
  try {
    void new Grants(texts);
  } catch (error) {
    if (error instanceof Fault) return error;
  }
  throw new Error(`${texts.join(", ")} was taken`);
}

describe("a grant", () => {
  const cases: [grant: string, use: Use, allowed: boolean][] = [
    ["object.read:corpus/*", { right: "object.read", target: "corpus/a/b.txt" }, true],
    ["object.read:corpus/*", { right: "object.write", target: "corpus/a.txt" }, false],
    ["object.read:corpus/*", { right: "object.read", target: "corpus2/a.txt" }, false],
    ["object.read:corpus/a", { right: "object.read", target: "corpus/ab" }, false],
    ["object.read:*", { right: "object.read", target: "any/thing" }, true],
    ["task.submit", { right: "task.submit", target: "" }, true],
    ["log", { right: "log", target: "" }, true],
    ["config", { right: "config", target: "TOKEN" }, true],
    ["config:GREETING", { right: "config", target: "TOKEN" }, false],
    ["keyvalue.write:progress/*", { right: "keyvalue.write", target: "progress/1" }, true],
    ["keyvalue.write:progress/*", { right: "keyvalue.read", target: "progress/1" }, false],
    ["http:api.example.org", { right: "http", target: "api.example.org:443" }, true],
    ["http:API.example.org", { right: "http", target: "api.example.org:80" }, true],
    ["http:api.example.org", { right: "http", target: "api.example.org:8080" }, false],
    ["http:api.example.org:8080", { right: "http", target: "api.example.org:8080" }, true],
    ["http:*.example.org", { right: "http", target: "api.example.org:443" }, true],
    ["http:*.example.org", { right: "http", target: "example.org:443" }, false],
    ["http:*.example.org", { right: "http", target: "evilexample.org:443" }, false],
    ["http:[::1]:80", { right: "http", target: "[::1]:80" }, true],
  ];
  test.each(cases)("%s for %p: %p", (grant, use, allowed) => {
    expect(new Grants([grant]).covering(use) === grant).toBe(allowed);
  });

  test("names a host exactly or not", () => {
    expect(new Grants(["http:localhost:80"]).namesHost("localhost:80")).toBe(true);
    expect(new Grants(["http:*", "http:*.local"]).namesHost("a.local:80")).toBe(false);
  });
});

test("what is no grant is refused with what was meant", () => {
  expect(faultOf("log", "objct.read:corpus/*")).toMatchObject({
    code: "invalid_argument",
    field: "spec.hostcalls.1",
    help: 'did you mean "object.read:corpus/*"?',
  });
  expect(faultOf("object.read:corpus").help).toBe('did you mean "object.read:corpus/*"?');
  expect(faultOf("object.read").help).toContain("object.read:corpus/part-1.txt");
  expect(faultOf("task.submit:x").help).toBe('write "task.submit"');
  expect(faultOf("frobnicate").help).toStartWith("known: object.read");
  expect(faultOf("http:https://x.org/").message).toContain("nothing that http can be granted for");
  expect(faultOf("object.read:a*b/c").field).toBe("spec.hostcalls.0");
});

test("the smallest list names few targets and folds many", () => {
  const reads = Array.from({ length: 20 }, (_, index) => ({
    right: "object.read" as const,
    target: `corpus/parts/${index}.txt`,
  }));
  const uses: Use[] = [
    ...reads,
    { right: "log", target: "" },
    { right: "log", target: "" },
    { right: "object.write", target: "results/a" },
    { right: "http", target: "api.example.org:443" },
    { right: "http", target: "api.example.org:80" },
    { right: "http", target: "api.example.org:8443" },
  ];
  const grants = smallestGrants(uses);
  expect(grants).toEqual([
    "object.read:corpus/parts/*",
    "object.write:results/a",
    "log",
    "http:api.example.org",
    "http:api.example.org:8443",
  ]);
  const list = new Grants(grants);
  for (const use of uses) expect(list.covering(use)).toBeDefined();
});
