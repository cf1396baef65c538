/** Schedules over REST: parses, calls, encodes. */
import { JobSpec } from "@spear/shared/job.ts";
import { Schedule, ScheduleSpec } from "@spear/shared/schedule.ts";
import { TaskSpec } from "@spear/shared/task.ts";
import { Elysia, t } from "elysia";
import type { Jobs } from "../jobs/jobs.ts";
import type { Schedules } from "./schedules.ts";

export interface ScheduleHttpDeps {
  schedules: Schedules;
  jobs: Jobs;
}

const tags = ["schedules"];
const named = t.Object({ name: t.String({ description: "Name of the schedule." }) });

export function scheduleRoutes({ schedules, jobs }: ScheduleHttpDeps) {
  return new Elysia()
    .model({ TaskSpec, JobSpec, ScheduleSpec, Schedule })
    .get("/v1/schedules", async () => ({ schedules: await schedules.list() }), {
      response: t.Object({ schedules: t.Array(t.Ref(Schedule)) }),
      detail: { operationId: "listSchedules", summary: "All schedules, by name.", tags },
    })
    .put(
      "/v1/schedules/:name",
      ({ params, body }) => {
        const { job, ...times } = body.spec;
        return schedules.put(params.name, times, jobs.check({ spec: job, params: {} }));
      },
      {
        params: named,
        body: t.Object({ spec: t.Ref(ScheduleSpec) }, { additionalProperties: false }),
        response: t.Ref(Schedule),
        detail: {
          operationId: "putSchedule",
          summary: "Create a schedule, or replace what one of that name does.",
          tags,
        },
      },
    )
    .get("/v1/schedules/:name", ({ params }) => schedules.get(params.name), {
      params: named,
      response: t.Ref(Schedule),
      detail: { operationId: "getSchedule", summary: "One schedule.", tags },
    })
    .delete(
      "/v1/schedules/:name",
      async ({ params, set }) => {
        await schedules.delete(params.name);
        set.status = 204;
      },
      {
        params: named,
        detail: {
          operationId: "deleteSchedule",
          summary: "Take a schedule away; its jobs go on.",
          tags,
          responses: { 204: { description: "It is gone." } },
        },
      },
    )
    .post("/v1/schedules/:name/pause", ({ params }) => schedules.pause(params.name, true), {
      params: named,
      response: t.Ref(Schedule),
      detail: {
        operationId: "pauseSchedule",
        summary: "Submit nothing until it is resumed; times that pass are not made up for.",
        tags,
      },
    })
    .post("/v1/schedules/:name/resume", ({ params }) => schedules.pause(params.name, false), {
      params: named,
      response: t.Ref(Schedule),
      detail: { operationId: "resumeSchedule", summary: "Take a pause back.", tags },
    });
}
