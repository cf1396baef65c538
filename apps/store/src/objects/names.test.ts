import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { Fault } from "@spear/shared/fault.ts";
import { checkBucketName, checkKey } from "./names.ts";

function codeOf(run: () => unknown): string {
  try {
    run();
    return "ok";
  } catch (error) {
    return Fault.from(error).code;
  }
}

test.each(["abc", "a-b.c", "0".repeat(63), "spear-staging"])("takes the bucket name %p", (name) => {
  expect(checkBucketName(name)).toBe(name);
});

test.each([
  "",
  "ab",
  "A-bucket",
  "-ab",
  "ab-",
  "a..b",
  "a/b",
  "a_b",
  "0".repeat(64),
  "a\0bc",
  "é-b",
])("refuses the bucket name %p", (name) => {
  expect(codeOf(() => checkBucketName(name))).toBe("invalid_argument");
});

test.each(["a", "a/b", "/a", "a//b", "a/", "...", "a/.b/c..", " ", "\\", "ä/€/😀"])(
  "takes the key %p as it is",
  (key) => {
    expect(checkKey(key)).toBe(key);
  },
);

test.each(["", ".", "..", "a/..", "../a", "a/./b", "/..", "a\0", "\ud800"])(
  "refuses the key %p",
  (key) => {
    expect(codeOf(() => checkKey(key))).toBe("invalid_argument");
  },
);

test("a key has at most 1,024 bytes", () => {
  expect(codeOf(() => checkKey("x".repeat(1_024)))).toBe("ok");
  expect(codeOf(() => checkKey("é".repeat(512)))).toBe("ok");
  expect(codeOf(() => checkKey("x".repeat(1_025)))).toBe("invalid_argument");
  expect(codeOf(() => checkKey("é".repeat(513)))).toBe("invalid_argument");
});

test("a key that is taken survives a URL, so no two keys can become one", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", minLength: 1, maxLength: 40 }), (key) => {
      if (codeOf(() => checkKey(key)) !== "ok") return;
      const path = key.split("/").map(encodeURIComponent).join("/");
      const { pathname } = new URL(`http://store/v1/buckets/b/objects/${path}`);
      expect(decodeURIComponent(pathname.slice("/v1/buckets/b/objects/".length))).toBe(key);
    }),
  );
});
