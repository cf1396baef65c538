/** Tasks and events between their schemas and protobuf. */
import { taskStateToProto } from "@spear/proto/enums.ts";
import {
  Event as WireEvent,
  Task as WireTask,
  TaskSpec as WireSpec,
} from "@spear/proto/gen/spear/common/v1/task.ts";
import type { Event, Task } from "@spear/shared/task.ts";

/** A spec as JSON, for the one check that both transports share. */
export function specFromProto(spec: WireSpec | undefined): unknown {
  return spec === undefined ? undefined : WireSpec.toJSON(spec);
}

export function taskToProto(task: Task): WireTask {
  const { spec, state, ...rest } = task;
  return WireTask.fromPartial({
    ...rest,
    spec: WireSpec.fromJSON(spec),
    state: taskStateToProto(state),
  } as Parameters<typeof WireTask.fromPartial>[0]);
}

export function eventToProto(event: Event): WireEvent {
  return WireEvent.fromPartial(event);
}
