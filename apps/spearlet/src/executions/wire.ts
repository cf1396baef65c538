/** The node's nouns between their schemas and protobuf. */
import { taskStateFromProto, taskStateToProto } from "@spear/proto/enums.ts";
import {
  Task as WireTask,
  TaskState as WireState,
  TaskSpec as WireSpec,
} from "@spear/proto/gen/spear/common/v1/task.ts";
import {
  ExecutionPhase,
  type Execution as WireExecution,
} from "@spear/proto/gen/spear/spearlet/v1/spearlet.ts";
import type { Task, TaskSpec } from "@spear/shared/task.ts";
import type { Execution, Phase } from "./schema.ts";

const phaseNumbers: Record<Uppercase<Phase>, ExecutionPhase> = ExecutionPhase;

export function executionToProto({ phase, state, signal, ...rest }: Execution): WireExecution {
  return {
    ...rest,
    pid: rest.pid ?? 0,
    startedAtMs: rest.startedAtMs,
    endedAtMs: rest.endedAtMs,
    exitCode: rest.exitCode,
    failure: rest.failure,
    signal: signal ?? "",
    phase: phaseNumbers[phase.toUpperCase() as Uppercase<Phase>],
    state: state === undefined ? WireState.UNSPECIFIED : taskStateToProto(state),
  };
}

/** A spec from outside as its schema's shape, yet to be checked. */
export function specFromProto(spec: WireSpec | undefined): unknown {
  return spec === undefined ? undefined : WireSpec.toJSON(spec);
}

export function specToProto(spec: TaskSpec): WireSpec {
  return WireSpec.fromJSON(spec);
}

/** A task that SMS answered. Protobuf leaves out what is empty; the schema does not. */
export function taskFromProto(wire: WireTask): Task {
  const task = WireTask.toJSON(wire) as Omit<Task, "state" | "spec"> & { spec: TaskSpec };
  return {
    ...task,
    attempt: wire.attempt,
    seq: wire.seq,
    failures: wire.failures,
    cancelRequested: wire.cancelRequested,
    outputs: wire.outputs,
    ...(wire.usage === undefined ? {} : { usage: wire.usage }),
    state: taskStateFromProto(wire.state),
  };
}
