import { expect, test } from "bun:test";
import { audited } from "./audit.ts";

const use = {
  right: "object.read",
  target: "corpus/a.txt",
  grant: "object.read:corpus/*",
  calls: 3,
  bytes: 3072,
  refused: 0,
  firstAtMs: 1,
  lastAtMs: 2,
};
const nothing = { taskId: "task_1", granted: [], proposal: [], missing: [], attempts: [] };

test("shows what was used and what to write", () => {
  const refused = { ...use, right: "log", target: "", grant: "", calls: 0, bytes: 0, refused: 1 };
  const text = audited({
    ...nothing,
    granted: ["object.read:corpus/*"],
    proposal: ["object.read:corpus/a.txt"],
    missing: ["log"],
    attempts: [{ attempt: 2, uses: [use, refused] }],
  });
  expect(text.split("\n")).toEqual([
    "TRY  HOSTCALL                  CALLS  REFUSED  BYTES  GRANTED BY",
    "2    object.read:corpus/a.txt  3               3 KiB  object.read:corpus/*",
    "2    log                       0      1",
    "",
    "The smallest grants that would have done:",
    "hostcalls:",
    '  - "object.read:corpus/a.txt"',
    "",
    "Refused; grant these too if they were meant:",
    "hostcalls:",
    '  - "log"',
  ]);
});

test("says so if there was nothing", () => {
  expect(audited(nothing)).toBe("task_1 has asked nothing of its node");
  expect(audited({ ...nothing, granted: ["log"] })).toEndWith("could do without log");
});
