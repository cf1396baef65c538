import { expect, test } from "bun:test";
import { Fault } from "@spear/shared/fault.ts";
import { attributesOf, type GivenAttributes } from "./attributes.ts";

/** The field that is wrong, or "ok". */
function wrongIn(given: GivenAttributes): string {
  try {
    attributesOf(given);
    return "ok";
  } catch (error) {
    return Fault.from(error).field ?? "none";
  }
}

test("what is not given is empty, and bytes are of no known type", () => {
  expect(attributesOf({})).toEqual({
    contentType: "application/octet-stream",
    metadata: {},
    headers: {},
    tags: {},
  });
});

test("metadata must be able to travel in headers", () => {
  const metadata = (name: string, value: string) => wrongIn({ metadata: { [name]: value } });
  expect(metadata("colour", "light blue")).toBe("ok");
  expect(metadata("Colour", "blue")).toBe("metadata");
  expect(metadata("colour", "bl\r\nue")).toBe("metadata");
  expect(metadata("colour", "blå")).toBe("metadata");
  expect(metadata("colour", "x".repeat(9_000))).toBe("metadata");
  expect(wrongIn({ contentType: "text/\nplain" })).toBe("contentType");
});

test("only headers of the content travel with it", () => {
  expect(wrongIn({ headers: { "cache-control": "no-store" } })).toBe("ok");
  expect(wrongIn({ headers: { "set-cookie": "a=b" } })).toBe("headers");
  expect(wrongIn({ headers: { expires: "1\r\nset-cookie: a" } })).toBe("headers");
});

test("tags are few and short", () => {
  const many = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`tag ${index}`, "ä/1"]));
  expect(wrongIn({ tags: many(10) })).toBe("ok");
  expect(wrongIn({ tags: many(11) })).toBe("tags");
  expect(wrongIn({ tags: { "": "x" } })).toBe("tags");
  expect(wrongIn({ tags: { a: "<b>" } })).toBe("tags");
});
