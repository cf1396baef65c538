import { expect, test } from "bun:test";
import { Fault } from "@spear/shared/fault.ts";
import { jobStates } from "@spear/shared/job.ts";
import { nodeStates } from "@spear/shared/node.ts";
import { taskStates } from "@spear/shared/state.ts";
import {
  jobStateFromProto,
  jobStateToProto,
  nodeStateFromProto,
  nodeStateToProto,
  taskStateFromProto,
  taskStateToProto,
} from "./enums.ts";
import { NodeState, nodeStateToJSON } from "./gen/spear/common/v1/node.ts";
import { TaskState, taskStateToJSON } from "./gen/spear/common/v1/task.ts";
import { JobState, jobStateToJSON } from "./gen/spear/sms/v1/job.ts";

const numbersOf = (values: object) =>
  Object.values(values).filter((value): value is number => value > 0);

test("every task state has its number and every number its state", () => {
  expect(taskStates.map(taskStateToProto)).toEqual(numbersOf(TaskState) as TaskState[]);
  for (const state of taskStates) {
    expect(taskStateFromProto(taskStateToProto(state))).toBe(state);
    expect(taskStateToJSON(taskStateToProto(state))).toBe(`TASK_STATE_${state.toUpperCase()}`);
  }
});

test("every node state has its number and every number its state", () => {
  expect(nodeStates.map(nodeStateToProto)).toEqual(numbersOf(NodeState) as NodeState[]);
  for (const state of nodeStates) {
    expect(nodeStateFromProto(nodeStateToProto(state))).toBe(state);
    expect(nodeStateToJSON(nodeStateToProto(state))).toBe(`NODE_STATE_${state.toUpperCase()}`);
  }
});

test("every job state has its number and every number its state", () => {
  expect(jobStates.map(jobStateToProto)).toEqual(numbersOf(JobState) as JobState[]);
  for (const state of jobStates) {
    expect(jobStateFromProto(jobStateToProto(state))).toBe(state);
    expect(jobStateToJSON(jobStateToProto(state))).toBe(`JOB_STATE_${state.toUpperCase()}`);
  }
});

test("an unset or unknown number is refused by the field's name", () => {
  for (const value of [0, -1, 99] as TaskState[]) {
    const attempt = () => taskStateFromProto(value, "states.0");
    expect(attempt).toThrow(new Fault("invalid_argument", `states.0: ${value} is not a state`));
    expect(() => nodeStateFromProto(value as NodeState)).toThrow("state: ");
  }
});
