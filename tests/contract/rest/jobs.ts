/** Jobs over REST. */
import { expect } from "bun:test";
import { until } from "../../programs.ts";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";
import { firstMessage } from "./socket.ts";

/** Submits a job of these tasks; its id. */
async function submit(world: World, tasks: Json): Promise<string> {
  const call = { body: { spec: { name: "contract", tasks } } };
  return (await world.ok("sms", "POST /v1/jobs", call, 201))["id"] as string;
}

function reaches(world: World, id: string, state: string): Promise<Json> {
  return until(`${id} to be ${state}`, async () => {
    const job = await world.ok("sms", "GET /v1/jobs/{id}", { path: { id } });
    return job["state"] === state && job;
  });
}

const hanging = { stuck: { task: { mock: { hang: true } } } };

export const jobsRest: Cases = {
  "POST /v1/jobs": async ({ world }) => {
    const tasks = {
      part: { task: { mock: {} }, replicas: 2 },
      merge: { task: { mock: {} }, dependsOn: ["part"] },
    };
    const body = { spec: { name: "word-count", tasks }, idempotencyKey: crypto.randomUUID() };
    const job = await world.ok("sms", "POST /v1/jobs", { body }, 201);
    expect(await world.ok("sms", "POST /v1/jobs", { body }, 201)).toMatchObject({ id: job["id"] });
    const ended = await reaches(world, job["id"] as string, "succeeded");
    expect(ended).toMatchObject({ counts: { succeeded: 3 } });
  },
  "GET /v1/dead-letters": async ({ world }) => {
    const id = await world.submit({ mock: { exitCode: 3 } });
    await world.reaches(id, "failed");
    const { tasks } = await world.ok("sms", "GET /v1/dead-letters", { query: { pageSize: "1" } });
    expect(tasks).toMatchObject([{ id, state: "failed", exitCode: 3 }]);
  },
  "POST /v1/dead-letters:replay": async ({ world }) => {
    const id = await world.submit({ name: "letter", mock: { exitCode: 3 } });
    await world.reaches(id, "failed");
    const body = { taskIds: [id] };
    const { jobs } = await world.ok("sms", "POST /v1/dead-letters:replay", { body }, 201);
    expect(jobs).toMatchObject([{ name: "letter", total: 1 }]);
    const { tasks } = await world.ok("sms", "GET /v1/dead-letters");
    expect((tasks as Json[]).map((task) => task["id"])).not.toContain(id);
  },
  "GET /v1/jobs": async ({ world }) => {
    const id = await submit(world, { only: { task: { mock: {} } } });
    await reaches(world, id, "succeeded");
    const query = { state: "succeeded", pageSize: "1" };
    const { jobs } = await world.ok("sms", "GET /v1/jobs", { query });
    expect((jobs as Json[]).map((job) => job["id"])).toEqual([id]);
  },
  "GET /v1/jobs/{id}": async ({ world }) => {
    const id = await submit(world, { bad: { task: { mock: { exitCode: 1 } } } });
    expect(await reaches(world, id, "failed")).toMatchObject({ counts: { failed: 1 } });
  },
  "GET /v1/jobs/{id}/tasks": async ({ world }) => {
    const id = await submit(world, { part: { task: { mock: {} }, replicas: 3 } });
    const call = { path: { id } };
    const { tasks } = await world.ok("sms", "GET /v1/jobs/{id}/tasks", call);
    expect((tasks as Json[]).map(({ jobId }) => jobId)).toEqual([id, id, id]);
  },
  "GET /v1/jobs/{id}/events": async ({ world }) => {
    const id = await submit(world, { only: { task: { mock: {} } } });
    const call = { path: { id }, query: { after: "0" } };
    const event = await firstMessage(world.url("sms", "GET /v1/jobs/{id}/events", call));
    expect(event).toMatchObject({ jobId: id });
  },
  "POST /v1/jobs/{id}/cancel": async ({ world }) => {
    const id = await submit(world, hanging);
    await world.ok("sms", "POST /v1/jobs/{id}/cancel", { path: { id } });
    await reaches(world, id, "cancelled");
    await world.ok("sms", "POST /v1/jobs/{id}/cancel", { path: { id } });
  },
  "POST /v1/jobs/{id}/pause": async ({ world }) => {
    const id = await submit(world, hanging);
    const call = { path: { id } };
    expect(await world.ok("sms", "POST /v1/jobs/{id}/pause", call)).toMatchObject({ paused: true });
    await world.ok("sms", "POST /v1/jobs/{id}/cancel", call);
  },
  "POST /v1/jobs/{id}/resume": async ({ world }) => {
    const id = await submit(world, hanging);
    const call = { path: { id } };
    await world.ok("sms", "POST /v1/jobs/{id}/pause", call);
    const resumed = await world.ok("sms", "POST /v1/jobs/{id}/resume", call);
    expect(resumed).toMatchObject({ paused: false });
    await world.ok("sms", "POST /v1/jobs/{id}/cancel", call);
  },
  "POST /v1/jobs/{id}/rerun": async ({ world }) => {
    const id = await submit(world, { only: { task: { mock: {} } } });
    await reaches(world, id, "succeeded");
    const again = await world.ok("sms", "POST /v1/jobs/{id}/rerun", { path: { id } }, 201);
    expect(again["id"]).not.toBe(id);
    await reaches(world, again["id"] as string, "succeeded");
  },
};
