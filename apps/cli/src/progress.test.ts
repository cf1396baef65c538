import { expect, test } from "bun:test";
import { progressLine } from "./progress.ts";

test("a transfer's line", () => {
  const mib = 2 ** 20;
  expect(progressLine("put", 0, 4 * mib, 0)).toBe(
    "put [........................] 0%  0 B of 4 MiB  ",
  );
  expect(progressLine("put", mib, 4 * mib, 1_000)).toBe(
    "put [######..................] 25%  1 MiB of 4 MiB  1 MiB/s  3.0s",
  );
  expect(progressLine("get", 4 * mib, 4 * mib, 2_000)).toBe(
    "get [########################] 100%  4 MiB of 4 MiB  2 MiB/s",
  );
  expect(progressLine("get", 0, 0, 10)).toContain("100%");
  expect(progressLine("put", 3 * mib, undefined, 1_000)).toBe("put 3 MiB  3 MiB/s");
});
