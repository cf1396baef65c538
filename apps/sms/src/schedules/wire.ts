/** Schedules between their schemas and protobuf. */
import {
  Schedule as WireSchedule,
  ScheduleSpec as WireSpec,
} from "@spear/proto/gen/spear/sms/v1/schedule.ts";
import type { Schedule } from "@spear/shared/schedule.ts";
import { jobSpecFromProto } from "../jobs/wire.ts";

/** A spec as JSON: its times and its job, each for its own check. */
export function scheduleSpecFromProto(spec: WireSpec | undefined): {
  times: unknown;
  job: unknown;
} {
  if (spec === undefined) return { times: {}, job: {} };
  const { job: _, ...times } = WireSpec.toJSON(spec) as Record<string, unknown>;
  return { times, job: jobSpecFromProto(spec.job) };
}

export function scheduleToProto({ spec, ...rest }: Schedule): WireSchedule {
  return WireSchedule.fromPartial({ ...rest, spec: WireSpec.fromJSON(spec) });
}
