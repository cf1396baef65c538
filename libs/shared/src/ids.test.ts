import { expect, test } from "bun:test";
import { Fault } from "./fault.ts";
import { isId, jobOfOne, parseId, systemIds } from "./ids.ts";

test("ids sort in the order in which they were made", () => {
  const ids = Array.from({ length: 1_000 }, () => systemIds.next("task"));
  expect(ids.toSorted()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
  for (const id of ids) expect(isId("task", id)).toBe(true);
});

test("an id of another kind, or none, is refused by the field's name", () => {
  const task = systemIds.next("task");
  for (const value of [
    systemIds.next("node"),
    task.toLowerCase(),
    `${task}0`,
    task.slice(0, -1),
    "task_../../etc/passwd",
    `${task}\n`,
    "",
    7,
    undefined,
  ]) {
    expect(isId("task", value)).toBe(false);
    const attempt = () => parseId("task", value, "id");
    expect(attempt).toThrow(Fault);
    expect(attempt).toThrow("id is not a task id");
  }
  expect(parseId("task", task, "id")).toBe(task);
});

test("a single task's job has the same tail", () => {
  const task = systemIds.next("task");
  expect(isId("job", jobOfOne(task))).toBe(true);
  expect(jobOfOne(task).slice(4)).toBe(task.slice(5));
});
