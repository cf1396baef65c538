/** Schedules over gRPC. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";

const spec = { cron: "0 3 * * *", job: { tasks: { only: { task: { mock: {} } } } } };

const schedules = (world: World, method: string, request: Json) =>
  world.unary("sms", `ScheduleService/${method}`, request);
const put = (world: World, name: string) => schedules(world, "PutSchedule", { name, spec });

export const schedulesGrpc: Cases = {
  "ScheduleService/PutSchedule": async ({ world }) => {
    expect(await put(world, "grpc-put")).toMatchObject({ name: "grpc-put", spec });
  },
  "ScheduleService/GetSchedule": async ({ world }) => {
    await put(world, "grpc-get");
    const found = await schedules(world, "GetSchedule", { name: "grpc-get" });
    expect(Number(found["nextAtMs"])).toBeGreaterThan(Date.now());
  },
  "ScheduleService/ListSchedules": async ({ world }) => {
    await put(world, "grpc-list");
    const { schedules: all } = await schedules(world, "ListSchedules", {});
    expect((all as Json[]).map(({ name }) => name)).toContain("grpc-list");
  },
  "ScheduleService/PauseSchedule": async ({ world }) => {
    await put(world, "grpc-pause");
    const paused = await schedules(world, "PauseSchedule", { name: "grpc-pause" });
    expect(paused).toMatchObject({ paused: true });
  },
  "ScheduleService/ResumeSchedule": async ({ world }) => {
    await put(world, "grpc-resume");
    await schedules(world, "PauseSchedule", { name: "grpc-resume" });
    const resumed = await schedules(world, "ResumeSchedule", { name: "grpc-resume" });
    expect(resumed).not.toHaveProperty("paused");
  },
  "ScheduleService/DeleteSchedule": async ({ world }) => {
    await put(world, "grpc-delete");
    await schedules(world, "DeleteSchedule", { name: "grpc-delete" });
    const { schedules: all } = await schedules(world, "ListSchedules", {});
    expect((all as Json[] | undefined)?.map(({ name }) => name) ?? []).not.toContain("grpc-delete");
  },
};
