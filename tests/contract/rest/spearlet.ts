/** SPEARlet over REST. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json } from "../world.ts";
import { operational } from "./operational.ts";

export const spearletRest: Cases = {
  ...operational("spearlet"),
  "GET /v1/health": async ({ world, node }) => {
    expect(await world.ok("spearlet", "GET /v1/health")).toMatchObject({
      nodeId: node,
      smsConnected: true,
      redisConnected: true,
    });
  },
  "GET /v1/executions": async ({ world, running }) => {
    const { executions } = await world.ok("spearlet", "GET /v1/executions");
    expect((executions as Json[]).map(({ taskId }) => taskId)).toContain(running);
  },
  "POST /v1/tasks": async ({ world, node }) => {
    const body = { spec: { mock: { print: "local" } } };
    const task = await world.ok("spearlet", "POST /v1/tasks", { body }, 201);
    expect(await world.reaches(task["id"] as string, "succeeded")).toMatchObject({
      nodeId: node,
    });
  },
  "GET /v1/tasks/{id}": async ({ world, running }) => {
    const execution = await world.ok("spearlet", "GET /v1/tasks/{id}", { path: { id: running } });
    expect(execution).toMatchObject({ taskId: running, attempt: 1, runtime: "mock" });
  },
  "POST /v1/tasks/{id}/terminate": async ({ world }) => {
    const id = await world.submit({ mock: { hang: true } });
    await world.reaches(id, "running");
    await world.ok("spearlet", "POST /v1/tasks/{id}/terminate", { path: { id } });
    await world.reaches(id, "cancelled");
  },
  "GET /v1/tasks/{id}/logs": async ({ world, finished }) => {
    const raw = await world.rest("spearlet", "GET /v1/tasks/{id}/logs", {
      path: { id: finished },
      query: { stream: "stderr" },
      headers: { accept: "application/octet-stream" },
    });
    expect(raw.text).toBe("err\n");
  },
};
