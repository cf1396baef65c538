/**
 * The states of tasks, nodes and jobs on the wire and by name. Names, order and
 * numbers come from the tables of `@spear/shared`; a test holds the generated
 * enums to them.
 */
import { Fault } from "@spear/shared/fault.ts";
import { jobStates, type JobState as JobStateName } from "@spear/shared/job.ts";
import { nodeStates, type NodeState as NodeStateName } from "@spear/shared/node.ts";
import { taskStates, type TaskState as TaskStateName } from "@spear/shared/state.ts";
import { NodeState } from "./gen/spear/common/v1/node.ts";
import { TaskState } from "./gen/spear/common/v1/task.ts";
import { JobState } from "./gen/spear/sms/v1/job.ts";

/** Name → number, of a generated enum whose names are these in capitals. */
type Numbers<Name extends string, Value> = Readonly<Record<Uppercase<Name>, Value>>;

const taskNumbers: Numbers<TaskStateName, TaskState> = TaskState;
const nodeNumbers: Numbers<NodeStateName, NodeState> = NodeState;
const jobNumbers: Numbers<JobStateName, JobState> = JobState;

const upper = <Name extends string>(name: Name) => name.toUpperCase() as Uppercase<Name>;

const taskNames = new Map(taskStates.map((name) => [taskNumbers[upper(name)], name]));
const nodeNames = new Map(nodeStates.map((name) => [nodeNumbers[upper(name)], name]));
const jobNames = new Map(jobStates.map((name) => [jobNumbers[upper(name)], name]));

function named<Value extends number, Name>(
  names: ReadonlyMap<Value, Name>,
  value: Value,
  field: string,
): Name {
  const name = names.get(value);
  if (name !== undefined) return name;
  throw new Fault("invalid_argument", `${field}: ${value} is not a state`, { field });
}

export function taskStateToProto(state: TaskStateName): TaskState {
  return taskNumbers[upper(state)];
}

/** Throws `invalid_argument` naming `field` for an unset or unknown number. */
export function taskStateFromProto(value: TaskState, field = "state"): TaskStateName {
  return named(taskNames, value, field);
}

export function nodeStateToProto(state: NodeStateName): NodeState {
  return nodeNumbers[upper(state)];
}

/** Throws `invalid_argument` naming `field` for an unset or unknown number. */
export function nodeStateFromProto(value: NodeState, field = "state"): NodeStateName {
  return named(nodeNames, value, field);
}

export function jobStateToProto(state: JobStateName): JobState {
  return jobNumbers[upper(state)];
}

/** Throws `invalid_argument` naming `field` for an unset or unknown number. */
export function jobStateFromProto(value: JobState, field = "state"): JobStateName {
  return named(jobNames, value, field);
}
