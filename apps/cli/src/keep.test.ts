import { expect, test } from "bun:test";
import { explained } from "./keep.ts";

const why = {
  objectId: "obj_1",
  kept: true,
  names: [{ bucket: "corpus", key: "a/b" }],
  pinned: true,
  refs: [{ holder: "user/ann" }, { holder: "job/job_1", endsAtMs: 61_000 }],
};

test("what keeps an object", () => {
  expect(explained(why, 1_000)).toBe(
    "obj_1 is kept by\n  the name corpus/a/b\n  its pin\n  the reference of user/ann\n" +
      "  the reference of job/job_1, which ends in 1m",
  );
});

test("what will go, and when", () => {
  const unkept = { objectId: "obj_1", kept: false, names: [], pinned: false, refs: [] };
  expect(explained({ ...unkept, collectedAfterMs: 3_000 }, 1_000)).toBe(
    "obj_1 is kept by nothing and goes in 2.0s",
  );
  expect(explained({ ...unkept, collectedAfterMs: 3_000 }, 4_000)).toEndWith("goes soon");
});
