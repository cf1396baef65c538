/** Jobs over REST: parses, calls, encodes. */
import { parseId } from "@spear/shared/ids.ts";
import { Job, JobSpec, JobStateSchema } from "@spear/shared/job.ts";
import { Task, TaskSpec, TaskStateSchema } from "@spear/shared/task.ts";
import { Elysia, t } from "elysia";
import { labelsOf } from "../tasks/http.ts";
import { type Jobs, maxReplayed } from "./jobs.ts";

export interface JobHttpDeps {
  jobs: Jobs;
}

const closed = { additionalProperties: false } as const;
const tags = ["jobs"];
const jobId = t.Object({ id: t.String({ description: "job_…; also that of a single task." }) });
const paging = {
  pageSize: t.Optional(t.Integer({ minimum: 1, maximum: 1_000, description: "Default 100." })),
  pageToken: t.Optional(t.String({ description: "nextPageToken of the page before." })),
};
const pageOf = ({
  pageSize = 100,
  pageToken,
}: {
  pageSize?: number | undefined;
  pageToken?: string | undefined;
}) => ({ pageSize, ...(pageToken === undefined ? {} : { pageToken }) });

export function jobRoutes({ jobs }: JobHttpDeps) {
  const idOf = ({ id }: { id: string }) => parseId("job", id, "id");
  return new Elysia()
    .model({ TaskSpec, Task, JobSpec, Job })
    .post(
      "/v1/jobs",
      async ({ body, set }) => {
        const job = await jobs.submit({
          spec: body.spec,
          file: body.file,
          params: body.params ?? {},
          idempotencyKey: body.idempotencyKey,
        });
        set.status = 201;
        return job;
      },
      {
        body: t.Object(
          {
            spec: t.Optional(t.Ref(JobSpec)),
            file: t.Optional(
              t.Unknown({
                description: "Instead of spec: a job file as JSON, with units as 30s and 64Mi.",
              }),
            ),
            params: t.Optional(
              t.Record(t.String(), t.String(), { description: "Values for its parameters." }),
            ),
            idempotencyKey: t.Optional(
              t.String({
                description: "The same key returns the same job, also under concurrent submits.",
              }),
            ),
          },
          closed,
        ),
        response: { 201: t.Ref(Job) },
        detail: { operationId: "submitJob", summary: "Accept a job: all of it or nothing.", tags },
      },
    )
    .get(
      "/v1/jobs",
      ({ query }) =>
        jobs.list({
          states: query.state ?? [],
          labels: labelsOf(query.label),
          ...pageOf(query),
        }),
      {
        query: t.Object(
          {
            state: t.Optional(t.Array(JobStateSchema, { description: "Only these states." })),
            label: t.Optional(t.Array(t.String(), { description: "name=value; all must match." })),
            ...paging,
          },
          closed,
        ),
        response: t.Object({ jobs: t.Array(t.Ref(Job)), nextPageToken: t.Optional(t.String()) }),
        detail: {
          operationId: "listJobs",
          summary: "Jobs, newest first, a page at a time; single tasks are listed by listTasks.",
          tags,
        },
      },
    )
    .get("/v1/jobs/:id", ({ params }) => jobs.get(idOf(params)), {
      params: jobId,
      response: t.Ref(Job),
      detail: { operationId: "getJob", summary: "One job.", tags },
    })
    .get(
      "/v1/jobs/:id/tasks",
      ({ params, query }) =>
        jobs.listTasks(idOf(params), { states: query.state ?? [], ...pageOf(query) }),
      {
        params: jobId,
        query: t.Object(
          {
            state: t.Optional(t.Array(TaskStateSchema, { description: "Only these states." })),
            ...paging,
          },
          closed,
        ),
        response: t.Object({ tasks: t.Array(t.Ref(Task)), nextPageToken: t.Optional(t.String()) }),
        detail: {
          operationId: "listJobTasks",
          summary: "Tasks of a job in the order of its spec, a page at a time.",
          tags,
        },
      },
    )
    .post("/v1/jobs/:id/cancel", ({ params }) => jobs.cancel(idOf(params)), {
      params: jobId,
      response: t.Ref(Job),
      detail: {
        operationId: "cancelJob",
        summary: "Ask every task of a job to end; also fine for one that has ended.",
        tags,
      },
    })
    .post("/v1/jobs/:id/pause", ({ params }) => jobs.pause(idOf(params), true), {
      params: jobId,
      response: t.Ref(Job),
      detail: {
        operationId: "pauseJob",
        summary: "Let nothing new of a job start; what runs goes on.",
        tags,
      },
    })
    .post("/v1/jobs/:id/resume", ({ params }) => jobs.pause(idOf(params), false), {
      params: jobId,
      response: t.Ref(Job),
      detail: { operationId: "resumeJob", summary: "Take a pause back.", tags },
    })
    .post(
      "/v1/jobs/:id/rerun",
      async ({ params, body, set }) => {
        const job = await jobs.rerun(idOf(params), body?.failedOnly ?? false);
        set.status = 201;
        return job;
      },
      {
        params: jobId,
        body: t.Optional(
          t.Object(
            {
              failedOnly: t.Optional(
                t.Boolean({ description: "Only the tasks that did not succeed." }),
              ),
            },
            closed,
          ),
        ),
        response: { 201: t.Ref(Job) },
        detail: {
          operationId: "rerunJob",
          summary: "Submit an ended job again, whole or only what did not succeed.",
          tags,
        },
      },
    )
    .get(
      "/v1/dead-letters",
      ({ query }) => jobs.listDeadLetters(query.pageSize ?? 100, query.pageToken),
      {
        query: t.Object(paging, closed),
        response: t.Object({ tasks: t.Array(t.Ref(Task)), nextPageToken: t.Optional(t.String()) }),
        detail: {
          operationId: "listDeadLetters",
          summary: "Tasks that failed for good and were not run again, newest first.",
          tags,
        },
      },
    )
    .post(
      "/v1/dead-letters:replay",
      async ({ body, set }) => {
        const ids = body.taskIds.map((id, index) => parseId("task", id, `taskIds.${index}`));
        set.status = 201;
        return { jobs: await jobs.replayDeadLetters(ids) };
      },
      {
        body: t.Object(
          { taskIds: t.Array(t.String(), { minItems: 1, maxItems: maxReplayed }) },
          closed,
        ),
        response: { 201: t.Object({ jobs: t.Array(t.Ref(Job)) }) },
        detail: {
          operationId: "replayDeadLetters",
          summary: "Run such tasks again, those of a job with all of it that did not succeed.",
          tags,
        },
      },
    );
}
