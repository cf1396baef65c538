/** SPEARlet over gRPC. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import { first, output } from "./messages.ts";

export const spearletGrpc: Cases = {
  "TaskService/SubmitTask": async ({ world, node }) => {
    const task = await world.unary("spearlet", "TaskService/SubmitTask", { spec: { mock: {} } });
    expect(await world.reaches(task["id"] as string, "succeeded")).toMatchObject({
      nodeId: node,
    });
  },
  "TaskService/GetTask": async ({ world, running }) => {
    const request = { taskId: running };
    expect(await world.unary("spearlet", "TaskService/GetTask", request)).toMatchObject({
      taskId: running,
      phase: "EXECUTION_PHASE_RUNNING",
    });
  },
  "TaskService/TerminateTask": async ({ world }) => {
    const taskId = await world.submit({ mock: { hang: true } });
    await world.reaches(taskId, "running");
    await world.unary("spearlet", "TaskService/TerminateTask", { taskId });
    await world.reaches(taskId, "cancelled");
  },
  "TaskService/WatchTask": async ({ world, running }) => {
    const request = { taskId: running };
    expect(await first(world.stream("spearlet", "TaskService/WatchTask", request))).toMatchObject({
      taskId: running,
      phase: "EXECUTION_PHASE_RUNNING",
    });
  },
  "TaskService/ReadLogs": async ({ world, finished }) => {
    const chunks = world.stream("spearlet", "TaskService/ReadLogs", { taskId: finished });
    expect(await output(chunks)).toBe("out\n");
  },
  "HealthService/GetHealth": async ({ world, node }) => {
    expect(await world.unary("spearlet", "HealthService/GetHealth", {})).toMatchObject({
      nodeId: node,
      smsConnected: true,
      redisConnected: true,
    });
  },
};
