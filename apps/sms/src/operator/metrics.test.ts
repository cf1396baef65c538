import type { Event } from "@spear/shared/task.ts";
import { expect, test } from "bun:test";
import { timing } from "./metrics.ts";

test("each phase that a task leaves forward is timed, what goes back is not", () => {
  const observed: [string, number][] = [];
  const take = timing((phase, seconds) => observed.push([phase, seconds]));
  const change = (atMs: number, from: string, to: string): void =>
    take({
      seq: atMs,
      atMs,
      kind: "task.state",
      taskId: "t",
      attempt: 1,
      from,
      to,
      reason: "",
    } satisfies Event);
  change(1_000, "", "pending");
  change(1_500, "pending", "assigned");
  change(1_600, "assigned", "running");
  change(9_000, "running", "pending");
  change(9_250, "pending", "assigned");
  change(9_300, "assigned", "running");
  change(12_300, "running", "failed");
  expect(observed).toEqual([
    ["pending", 0.5],
    ["assigned", 0.1],
    ["pending", 0.25],
    ["assigned", 0.05],
    ["running", 3],
  ]);
});
