/** JobService: declared, and built with the workflows. */
import { Fault } from "@spear/shared/fault.ts";
import { JobServiceService, type JobServiceServer } from "@spear/proto/gen/spear/sms/v1/job.ts";
import { type GrpcService, type Handlers, unimplemented } from "@spear/shared/grpc/server.ts";

export function jobService(handlers: Handlers): GrpcService {
  const implementation: JobServiceServer = {
    submitJob: handlers.unary(unimplemented("SubmitJob")),
    getJob: handlers.unary(unimplemented("GetJob")),
    listJobs: handlers.unary(unimplemented("ListJobs")),
    cancelJob: handlers.unary(unimplemented("CancelJob")),
    watchJob: handlers.serverStream(() => {
      throw new Fault("unimplemented", "WatchJob is not built yet");
    }),
  };
  return { definition: JobServiceService, handlers: { ...implementation } };
}
