import { expect, test } from "bun:test";
import { Fault } from "@spear/shared/fault.ts";
import { parseRangeHeader, resolveRange } from "./range.ts";

test.each([
  ["bytes=0-0", 10, 0, 1],
  ["bytes=2-5", 10, 2, 6],
  ["bytes=2-500", 10, 2, 10],
  ["bytes=9-", 10, 9, 10],
  ["bytes=-3", 10, 7, 10],
  ["bytes=-30", 10, 0, 10],
])("%p of %p bytes is %p to %p", (header, size, start, end) => {
  const asked = parseRangeHeader(header);
  expect(asked && resolveRange(asked, size)).toEqual({ start, end });
});

test.each(["bytes=10-", "bytes=10-12", "bytes=-0"])(
  "%p of 10 bytes is not satisfiable",
  (header) => {
    const asked = parseRangeHeader(header);
    expect(() => asked && resolveRange(asked, 10)).toThrow(Fault);
  },
);

test.each([null, "", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"])(
  "the header %p is ignored",
  (header) => {
    expect(parseRangeHeader(header)).toBeUndefined();
  },
);
