/** Jobs over gRPC. */
import { expect } from "bun:test";
import { until } from "../../programs.ts";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";
import { first } from "./messages.ts";

const jobs = (world: World, method: string, request: Json) =>
  world.unary("sms", `JobService/${method}`, request);

/** Submits a job of these tasks; its id. */
async function submit(world: World, tasks: Json): Promise<string> {
  return (await jobs(world, "SubmitJob", { spec: { name: "contract", tasks } }))["id"] as string;
}

function reaches(world: World, jobId: string, state: string): Promise<Json> {
  return until(`${jobId} to be ${state}`, async () => {
    const job = await jobs(world, "GetJob", { jobId });
    return job["state"] === `JOB_STATE_${state}` && job;
  });
}

const quick = { only: { task: { mock: {} } } };
const hanging = { stuck: { task: { mock: { hang: true } } } };

export const jobsGrpc: Cases = {
  "JobService/SubmitJob": async ({ world }) => {
    const tasks = {
      part: { task: { mock: {} }, replicas: 2 },
      merge: { task: { mock: {} }, dependsOn: ["part"] },
    };
    const request = { spec: { name: "word-count", tasks }, idempotencyKey: crypto.randomUUID() };
    const { id } = await jobs(world, "SubmitJob", request);
    expect(await jobs(world, "SubmitJob", request)).toMatchObject({ id });
    await reaches(world, id as string, "SUCCEEDED");
  },
  "JobService/ListDeadLetters": async ({ world }) => {
    const id = await world.submit({ mock: { exitCode: 4 } });
    await world.reaches(id, "failed");
    const { tasks } = await jobs(world, "ListDeadLetters", { pageSize: 1 });
    expect(tasks).toMatchObject([{ id, exitCode: 4 }]);
  },
  "JobService/ReplayDeadLetters": async ({ world }) => {
    const id = await world.submit({ name: "letter", mock: { exitCode: 4 } });
    await world.reaches(id, "failed");
    const { jobs: again } = await jobs(world, "ReplayDeadLetters", { taskIds: [id] });
    expect(again).toMatchObject([{ name: "letter", total: 1 }]);
  },
  "JobService/GetJob": async ({ world }) => {
    const id = await submit(world, { bad: { task: { mock: { exitCode: 1 } } } });
    expect(await reaches(world, id, "FAILED")).toMatchObject({ counts: { failed: 1 } });
  },
  "JobService/ListJobs": async ({ world }) => {
    const id = await submit(world, quick);
    await reaches(world, id, "SUCCEEDED");
    const request = { states: ["JOB_STATE_SUCCEEDED"], pageSize: 1 };
    const { jobs: found } = await jobs(world, "ListJobs", request);
    expect((found as Json[]).map((job) => job["id"])).toEqual([id]);
  },
  "JobService/ListJobTasks": async ({ world }) => {
    const jobId = await submit(world, { part: { task: { mock: {} }, replicas: 3 } });
    const { tasks } = await jobs(world, "ListJobTasks", { jobId });
    expect((tasks as Json[]).map((task) => task["jobId"])).toEqual([jobId, jobId, jobId]);
  },
  "JobService/CancelJob": async ({ world }) => {
    const jobId = await submit(world, hanging);
    await jobs(world, "CancelJob", { jobId });
    await reaches(world, jobId, "CANCELLED");
  },
  "JobService/PauseJob": async ({ world }) => {
    const jobId = await submit(world, hanging);
    expect(await jobs(world, "PauseJob", { jobId })).toMatchObject({ paused: true });
    await jobs(world, "CancelJob", { jobId });
  },
  "JobService/ResumeJob": async ({ world }) => {
    const jobId = await submit(world, hanging);
    await jobs(world, "PauseJob", { jobId });
    expect(await jobs(world, "ResumeJob", { jobId })).not.toHaveProperty("paused");
    await jobs(world, "CancelJob", { jobId });
  },
  "JobService/RerunJob": async ({ world }) => {
    const jobId = await submit(world, quick);
    await reaches(world, jobId, "SUCCEEDED");
    const { id } = await jobs(world, "RerunJob", { jobId });
    expect(id).not.toBe(jobId);
    await reaches(world, id as string, "SUCCEEDED");
  },
  "JobService/WatchJob": async ({ world }) => {
    const jobId = await submit(world, quick);
    const events = world.stream("sms", "JobService/WatchJob", { jobId, afterSeq: "0" });
    expect(await first(events)).toMatchObject({ jobId });
  },
};
