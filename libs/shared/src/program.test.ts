import { Type } from "@sinclair/typebox";
import { describe, expect, test } from "bun:test";
import { parseCommandLine, usageOf, type Program } from "./program.ts";

const config = Type.Object(
  {
    httpListen: Type.String({ default: "127.0.0.1:7700", description: "Where HTTP listens." }),
    slots: Type.Integer({ default: 4, minimum: 1 }),
    runtimes: Type.Array(Type.String(), { default: ["process"] }),
    labels: Type.Record(Type.String(), Type.String(), { default: {} }),
    quiet: Type.Boolean({ default: false }),
    key: Type.Optional(Type.String({ secret: true, description: "A key." })),
  },
  { additionalProperties: false },
);
const program: Program<typeof config> = {
  name: "sms",
  summary: "The control plane.",
  config,
  start: () => Promise.reject(new Error("not started here")),
};
const parse = (...argv: string[]) =>
  parseCommandLine(program, argv, { SPEAR_SMS_SLOTS: "9", SPEAR_CONFIG: undefined });

describe("a program's command line", () => {
  test("flags win over the environment, and that over the defaults", () => {
    expect(parse("--runtimes", "mock", "--runtimes=wasm", "--labels", "a=1,b=2")).toEqual({
      httpListen: "127.0.0.1:7700",
      slots: 9,
      runtimes: ["mock", "wasm"],
      labels: { a: "1", b: "2" },
      quiet: false,
    });
    expect(parse("--slots", "2", "--listen", "127.0.0.1:0", "--quiet")).toMatchObject({
      slots: 2,
      httpListen: "127.0.0.1:0",
      quiet: true,
    });
  });

  test("what is wrong is named", () => {
    expect(() => parse("--slot", "2")).toThrow("unknown option '--slot'");
    expect(() => parse("--slots", "0")).toThrow("sms.slots: ");
    expect(() => parse("--slots")).toThrow("--slots");
    expect(() => parse("extra")).toThrow("extra");
    expect(() => parse("--config", "/does/not/exist.yaml")).toThrow("can't read /does/not/exist");
  });

  test("a secret comes from the environment only", () => {
    expect(() => parse("--key", "x")).toThrow("unknown option '--key'");
    expect(parseCommandLine(program, [], { SPEAR_SMS_KEY: "x" })).toMatchObject({ key: "x" });
    expect(usageOf(program)).toMatch(/\(no flag\) +A key\. \[SPEAR_SMS_KEY\]/);
  });

  test("help comes from the schema", () => {
    expect(parse("--help")).toBeUndefined();
    expect(usageOf(program)).toContain("--http-listen, --listen");
    expect(usageOf(program)).toContain(
      'Where HTTP listens. (default "127.0.0.1:7700") [SPEAR_SMS_HTTP_LISTEN]',
    );
  });
});
