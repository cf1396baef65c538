/** Jobs between their schemas and protobuf. */
import { jobStateToProto } from "@spear/proto/enums.ts";
import { Job as WireJob, JobSpec as WireSpec } from "@spear/proto/gen/spear/sms/v1/job.ts";
import type { Job } from "@spear/shared/job.ts";

/** A spec as JSON, for the one check that both transports share. */
export function jobSpecFromProto(spec: WireSpec | undefined): unknown {
  return spec === undefined ? {} : WireSpec.toJSON(spec);
}

export function jobToProto({ spec, state, ...rest }: Job): WireJob {
  return WireJob.fromPartial({
    ...rest,
    ...(spec === undefined ? {} : { spec: WireSpec.fromJSON(spec) }),
    state: jobStateToProto(state),
  });
}
