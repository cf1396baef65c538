/** Schedules over REST. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";

const spec = { cron: "0 3 * * *", job: { tasks: { only: { task: { mock: {} } } } } };

/** Sets a schedule of that name. */
const put = (world: World, name: string) =>
  world.ok("sms", "PUT /v1/schedules/{name}", { path: { name }, body: { spec } });

const named = (name: string) => ({ path: { name } });

export const schedulesRest: Cases = {
  "PUT /v1/schedules/{name}": async ({ world }) => {
    const made = await put(world, "rest-put");
    expect(made).toMatchObject({ name: "rest-put", paused: false, submitted: 0, spec });
    expect(await put(world, "rest-put")).toMatchObject({ createdAtMs: made["createdAtMs"] });
  },
  "GET /v1/schedules": async ({ world }) => {
    await put(world, "rest-list");
    const { schedules } = await world.ok("sms", "GET /v1/schedules");
    expect((schedules as Json[]).map(({ name }) => name)).toContain("rest-list");
  },
  "GET /v1/schedules/{name}": async ({ world }) => {
    await put(world, "rest-get");
    const found = await world.ok("sms", "GET /v1/schedules/{name}", named("rest-get"));
    expect(found["nextAtMs"] as number).toBeGreaterThan(Date.now());
  },
  "POST /v1/schedules/{name}/pause": async ({ world }) => {
    await put(world, "rest-pause");
    const call = named("rest-pause");
    const paused = await world.ok("sms", "POST /v1/schedules/{name}/pause", call);
    expect(paused).toMatchObject({ paused: true });
    expect(paused).not.toHaveProperty("nextAtMs");
  },
  "POST /v1/schedules/{name}/resume": async ({ world }) => {
    await put(world, "rest-resume");
    const call = named("rest-resume");
    await world.ok("sms", "POST /v1/schedules/{name}/pause", call);
    const resumed = await world.ok("sms", "POST /v1/schedules/{name}/resume", call);
    expect(resumed).toMatchObject({ paused: false });
  },
  "DELETE /v1/schedules/{name}": async ({ world }) => {
    await put(world, "rest-delete");
    const call = named("rest-delete");
    await world.ok("sms", "DELETE /v1/schedules/{name}", call, 204);
    expect((await world.rest("sms", "GET /v1/schedules/{name}", call)).status).toBe(404);
  },
};
