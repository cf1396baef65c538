/** JobService: parses, calls, encodes. */
import { jobStateFromProto, taskStateFromProto } from "@spear/proto/enums.ts";
import { JobServiceService, type JobServiceServer } from "@spear/proto/gen/spear/sms/v1/job.ts";
import type { GrpcService, Handlers } from "@spear/shared/grpc/handlers.ts";
import { parseId } from "@spear/shared/ids.ts";
import type { EventLog } from "../events/events.ts";
import { pageSizeOf } from "../tasks/grpc.ts";
import { eventToProto, taskToProto } from "../tasks/wire.ts";
import type { Jobs } from "./jobs.ts";
import { jobSpecFromProto, jobToProto } from "./wire.ts";

export interface JobGrpcDeps {
  jobs: Jobs;
  events: EventLog;
}

const tokenOf = (pageToken: string) => (pageToken === "" ? {} : { pageToken });

export function jobService(handlers: Handlers, { jobs, events }: JobGrpcDeps): GrpcService {
  const idOf = ({ jobId }: { jobId: string }) => parseId("job", jobId, "jobId");
  const implementation: JobServiceServer = {
    submitJob: handlers.unary(async ({ spec, params, idempotencyKey }) =>
      jobToProto(
        await jobs.submit({
          spec: jobSpecFromProto(spec),
          params,
          idempotencyKey: idempotencyKey === "" ? undefined : idempotencyKey,
        }),
      ),
    ),
    getJob: handlers.unary(async (request) => jobToProto(await jobs.get(idOf(request)))),
    listJobs: handlers.unary(async ({ states, pageSize, pageToken }) => {
      const { jobs: page, nextPageToken } = await jobs.list({
        states: states.map((state, index) => jobStateFromProto(state, `states.${index}`)),
        labels: {},
        pageSize: pageSizeOf(pageSize),
        ...tokenOf(pageToken),
      });
      return { jobs: page.map(jobToProto), nextPageToken: nextPageToken ?? "" };
    }),
    listJobTasks: handlers.unary(async (request) => {
      const { tasks, nextPageToken } = await jobs.listTasks(idOf(request), {
        states: request.states.map((state, index) => taskStateFromProto(state, `states.${index}`)),
        pageSize: pageSizeOf(request.pageSize),
        ...tokenOf(request.pageToken),
      });
      return { tasks: tasks.map(taskToProto), nextPageToken: nextPageToken ?? "" };
    }),
    cancelJob: handlers.unary(async (request) => jobToProto(await jobs.cancel(idOf(request)))),
    pauseJob: handlers.unary(async (request) => jobToProto(await jobs.pause(idOf(request), true))),
    resumeJob: handlers.unary(async (request) =>
      jobToProto(await jobs.pause(idOf(request), false)),
    ),
    rerunJob: handlers.unary(async (request) =>
      jobToProto(await jobs.rerun(idOf(request), request.failedOnly)),
    ),
    listDeadLetters: handlers.unary(async ({ pageSize, pageToken }) => {
      const { tasks, nextPageToken } = await jobs.listDeadLetters(
        pageSizeOf(pageSize),
        pageToken === "" ? undefined : pageToken,
      );
      return { tasks: tasks.map(taskToProto), nextPageToken: nextPageToken ?? "" };
    }),
    replayDeadLetters: handlers.unary(async ({ taskIds }) => {
      const ids = taskIds.map((id, index) => parseId("task", id, `taskIds.${index}`));
      return { jobs: (await jobs.replayDeadLetters(ids)).map(jobToProto) };
    }),
    watchJob: handlers.serverStream(async function* (request, { signal }) {
      const id = idOf(request);
      await jobs.get(id);
      for await (const event of events.follow(
        request.afterSeq,
        (event) => event.jobId === id,
        signal,
      )) {
        yield eventToProto(event);
      }
    }),
  };
  return { definition: JobServiceService, handlers: { ...implementation } };
}
