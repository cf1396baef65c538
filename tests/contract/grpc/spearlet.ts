/** SPEARlet over gRPC. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { Json, World } from "../world.ts";
import { first, output } from "./messages.ts";

/** Puts an object through the node; its bucket is made at the store. */
async function put(world: World, key: string, text: string): Promise<Json> {
  const bucket = { name: "through-node", ifAbsent: true };
  await world.unary("store", "ObjectStore/CreateBucket", bucket);
  return world.upload("spearlet", "ObjectService/PutObject", [
    { header: { bucket: "through-node", key, contentType: "text/plain", metadata: { a: "b" } } },
    { data: Buffer.from(text).toString("base64") },
  ]);
}

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
  "ObjectService/PutObject": async ({ world }) => {
    const object = await put(world, "put", "hello");
    expect(object).toMatchObject({ bucket: "through-node", key: "put", sizeBytes: "5" });
    const request = { bucket: "through-node", key: "put" };
    expect(await world.unary("store", "ObjectStore/HeadObject", request)).toEqual(object);
    const absent = world.upload("spearlet", "ObjectService/PutObject", [
      { header: { ...request, condition: { ifAbsent: true } } },
    ]);
    expect(await absent.catch((error: unknown) => error)).toMatchObject({
      code: "precondition_failed",
    });
  },
  "ObjectService/GetObject": async ({ world }) => {
    const { id } = await put(world, "get", "hello");
    // Twice: from the store, then from the cache.
    for (const request of [{ bucket: "through-node", key: "get" }, { objectId: id }]) {
      const messages = await Array.fromAsync(
        world.stream("spearlet", "ObjectService/GetObject", { ...request, offset: 1, length: 3 }),
      );
      expect(messages[0]).toMatchObject({ object: { id, key: "get", metadata: { a: "b" } } });
      expect(Buffer.from(messages[1]?.["data"] as string, "base64").toString()).toBe("ell");
    }
  },
  "ObjectService/HeadObject": async ({ world }) => {
    const { id } = await put(world, "head", "hello");
    await world.unary("store", "ObjectStore/AddObjectRef", { objectId: id, holder: "user/ann" });
    const request = { bucket: "through-node", key: "head" };
    expect(await world.unary("spearlet", "ObjectService/HeadObject", request)).toEqual(
      await world.unary("store", "ObjectStore/HeadObject", request),
    );
  },
  "HealthService/GetHealth": async ({ world, node }) => {
    expect(await world.unary("spearlet", "HealthService/GetHealth", {})).toMatchObject({
      nodeId: node,
      smsConnected: true,
      redisConnected: true,
    });
  },
};
