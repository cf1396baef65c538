/** Schedules over REST. */
import { expect } from "bun:test";
import { until } from "../../programs.ts";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";

let schedules = 0;

/** Puts a schedule that fires at midnight, or as told; its name. */
async function put(world: World, cron = "0 0 * * *"): Promise<string> {
  const name = `rest-${++schedules}`;
  const spec = {
    cron,
    timeZone: "Europe/Berlin",
    job: { tasks: { only: { task: { mock: {} } } } },
  };
  const call = { path: { name }, body: { spec } };
  const made = await world.ok("sms", "PUT /v1/schedules/{name}", call);
  expect(made).toMatchObject({ name, paused: false, spec: { cron } });
  return name;
}

export const schedulesRest: Cases = {
  "PUT /v1/schedules/{name}": async ({ world }) => {
    const name = await put(world, "* * * * * *");
    const path = { name };
    await until("the schedule to submit a job", async () => {
      const schedule = await world.ok("sms", "GET /v1/schedules/{name}", { path });
      return (schedule["submitted"] as number) > 0;
    });
    await world.ok("sms", "DELETE /v1/schedules/{name}", { path }, 204);
  },
  "GET /v1/schedules": async ({ world }) => {
    const name = await put(world);
    const { schedules: found } = await world.ok("sms", "GET /v1/schedules");
    expect((found as Json[]).map((each) => each["name"])).toContain(name);
  },
  "GET /v1/schedules/{name}": async ({ world }) => {
    const path = { name: await put(world) };
    const found = await world.ok("sms", "GET /v1/schedules/{name}", { path });
    expect(found["nextAtMs"]).toBeGreaterThan(Date.now());
    const nowhere = { path: { name: "nowhere" } };
    expect((await world.problem("sms", "GET /v1/schedules/{name}", nowhere)).status).toBe(404);
  },
  "DELETE /v1/schedules/{name}": async ({ world }) => {
    const path = { name: await put(world) };
    await world.ok("sms", "DELETE /v1/schedules/{name}", { path }, 204);
    expect((await world.problem("sms", "GET /v1/schedules/{name}", { path })).status).toBe(404);
  },
  "POST /v1/schedules/{name}/pause": async ({ world }) => {
    const path = { name: await put(world) };
    const paused = await world.ok("sms", "POST /v1/schedules/{name}/pause", { path });
    expect(paused).toMatchObject({ paused: true });
    expect(paused).not.toHaveProperty("nextAtMs");
  },
  "POST /v1/schedules/{name}/resume": async ({ world }) => {
    const path = { name: await put(world) };
    await world.ok("sms", "POST /v1/schedules/{name}/pause", { path });
    const resumed = await world.ok("sms", "POST /v1/schedules/{name}/resume", { path });
    expect(resumed).toMatchObject({ paused: false, nextAtMs: expect.any(Number) });
  },
};
