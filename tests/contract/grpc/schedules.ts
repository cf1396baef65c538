/** Schedules over gRPC. */
import { expect } from "bun:test";
import { Fault } from "@spear/shared/fault.ts";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";

const call = (world: World, method: string, request: Json) =>
  world.unary("sms", `ScheduleService/${method}`, request);

let schedules = 0;

/** Puts a schedule that fires at midnight; its name. */
async function put(world: World): Promise<string> {
  const name = `grpc-${++schedules}`;
  const spec = { cron: "0 0 * * *", job: { tasks: { only: { task: { mock: {} } } } } };
  expect(await call(world, "PutSchedule", { name, spec })).toMatchObject({ name });
  return name;
}

export const schedulesGrpc: Cases = {
  "ScheduleService/PutSchedule": async ({ world }) => {
    await put(world);
  },
  "ScheduleService/GetSchedule": async ({ world }) => {
    const name = await put(world);
    const { nextAtMs } = await call(world, "GetSchedule", { name });
    expect(Number(nextAtMs)).toBeGreaterThan(Date.now());
  },
  "ScheduleService/ListSchedules": async ({ world }) => {
    const name = await put(world);
    const { schedules: found } = await call(world, "ListSchedules", {});
    expect((found as Json[]).map((each) => each["name"])).toContain(name);
  },
  "ScheduleService/DeleteSchedule": async ({ world }) => {
    const name = await put(world);
    await call(world, "DeleteSchedule", { name });
    const gone = call(world, "GetSchedule", { name });
    expect(await gone.catch((error: unknown) => error)).toBeInstanceOf(Fault);
  },
  "ScheduleService/PauseSchedule": async ({ world }) => {
    const name = await put(world);
    const paused = await call(world, "PauseSchedule", { name });
    expect(paused).toMatchObject({ paused: true });
    expect(paused).not.toHaveProperty("nextAtMs");
  },
  "ScheduleService/ResumeSchedule": async ({ world }) => {
    const name = await put(world);
    await call(world, "PauseSchedule", { name });
    expect(await call(world, "ResumeSchedule", { name })).toHaveProperty("nextAtMs");
  },
};
