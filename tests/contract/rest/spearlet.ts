/** SPEARlet over REST. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";
import { operational } from "./operational.ts";

const query = { bucket: "rest-through-node", key: "a/b?&%2e.txt" };

async function put(world: World, text: string): Promise<Json> {
  const path = { bucket: query.bucket };
  await world.ok("store", "PUT /v1/buckets/{bucket}", { path, query: { ifAbsent: "true" } });
  const headers = { "content-type": "text/plain", "x-spear-meta-lang": "en" };
  return world.ok("spearlet", "PUT /v1/objects", { query, body: text, headers });
}

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
  "PUT /v1/objects": async ({ world }) => {
    const object = await put(world, "hello");
    expect(object).toMatchObject({ ...query, sizeBytes: 5, contentType: "text/plain" });
    const again = { query: { ...query, ifAbsent: "true" }, body: "other" };
    expect(await world.problem("spearlet", "PUT /v1/objects", again)).toMatchObject({
      code: "precondition_failed",
    });
  },
  "GET /v1/objects": async ({ world }) => {
    const { id } = await put(world, "hello");
    for (const one of [query, { id: id as string }]) {
      const whole = await world.rest("spearlet", "GET /v1/objects", { query: one });
      expect(whole.text).toBe("hello");
      expect(whole.headers.get("x-spear-meta-lang")).toBe("en");
      const part = { query: { ...one, offset: "1", length: "3" } };
      expect((await world.rest("spearlet", "GET /v1/objects", part)).text).toBe("ell");
    }
    for (const [call, code] of [
      [{ query: { bucket: query.bucket, key: "none" } }, "object_not_found"],
      [{ query: { ...query, offset: "9" } }, "range_not_satisfiable"],
      [{ query: { ...query, id: id as string } }, "invalid_argument"],
      [{ query: { ...query, key: "a/../b" } }, "invalid_argument"],
    ] as const) {
      expect(await world.problem("spearlet", "GET /v1/objects", call)).toMatchObject({ code });
    }
  },
  "HEAD /v1/objects": async ({ world }) => {
    const { id } = await put(world, "hello");
    const { status, headers } = await world.rest("spearlet", "HEAD /v1/objects", { query });
    expect([status, headers.get("x-spear-object-id"), headers.get("x-spear-size")]).toEqual([
      200,
      id as string,
      "5",
    ]);
  },
};
