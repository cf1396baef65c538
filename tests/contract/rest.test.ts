/**
 * Every REST operation of every program is called and answers as its document
 * says. An operation without an entry here fails by its name.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { programs, restOperations, type ProgramName } from "./operations.ts";
import { World, type Json } from "./world.ts";

let world: World;
/** A task that printed, and one that does not end by itself. */
let finished: string;
let running: string;
let node: string;

beforeAll(async () => {
  world = await World.start();
  finished = await world.submit({ process: { command: ["sh", "-c", "echo out; echo err >&2"] } });
  running = await world.submit({ mock: { hang: true } });
  await world.reaches(finished, "succeeded");
  node = (await world.reaches(running, "running"))["nodeId"] as string;
});
afterAll(() => world[Symbol.asyncDispose]());

/** Calls an operation and expects a status; its JSON. */
async function ok(
  program: ProgramName,
  operation: string,
  call?: Parameters<World["rest"]>[2],
  status = 200,
): Promise<Json> {
  const answer = await world.rest(program, operation, call);
  expect({ operation, status: answer.status, text: answer.text }).toMatchObject({ status });
  return answer.json;
}

/** The first message of a WebSocket. */
function firstMessage(url: string): Promise<Json> {
  const { promise, resolve, reject } = Promise.withResolvers<Json>();
  const socket = new WebSocket(url.replace("http:", "ws:"));
  socket.onmessage = ({ data }) => {
    resolve(JSON.parse(String(data)) as Json);
    socket.close();
  };
  socket.onerror = () => reject(new Error(`${url} can't be opened`));
  return promise;
}

const operational = (program: ProgramName) => ({
  "GET /healthz": async () => {
    expect(await ok(program, "GET /healthz")).toEqual({ status: "ok" });
  },
  "GET /readyz": async () => {
    expect(await ok(program, "GET /readyz")).toMatchObject({ ready: true });
  },
});

let buckets = 0;
/** A fresh bucket with one object; its name and the object. */
async function bucketWith(text: string): Promise<{ bucket: string; object: Json }> {
  const bucket = `rest-${++buckets}`;
  await ok("store", "PUT /v1/buckets/{bucket}", { path: { bucket } });
  const object = await ok("store", "PUT /v1/buckets/{bucket}/objects/{key}", {
    path: { bucket, key: "a/b.txt" },
    body: text,
    headers: { "content-type": "text/plain", "x-spear-meta-lang": "en" },
  });
  return { bucket, object };
}

const tests: Record<ProgramName, Record<string, () => Promise<void>>> = {
  sms: {
    ...operational("sms"),
    "POST /v1/tasks": async () => {
      const body = { spec: { name: "once", mock: {} }, idempotencyKey: crypto.randomUUID() };
      const first = await ok("sms", "POST /v1/tasks", { body }, 201);
      const again = await ok("sms", "POST /v1/tasks", { body }, 201);
      expect(first).toMatchObject({ name: "once", runtime: "mock", spec: body.spec });
      expect(again["id"]).toBe(first["id"]);
    },
    "POST /v1/tasks:batch": async () => {
      const body = { specs: [{ mock: {} }, { mock: { print: "x" } }] };
      const { taskIds } = await ok("sms", "POST /v1/tasks:batch", { body }, 201);
      expect(taskIds).toHaveLength(2);
      for (const id of taskIds as string[]) await world.reaches(id, "succeeded");
    },
    "GET /v1/tasks": async () => {
      const list = async (query: Record<string, string>) =>
        (await ok("sms", "GET /v1/tasks", { query }))["tasks"] as Json[];
      expect((await list({ state: "running" })).map(({ id }) => id)).toEqual([running]);
      expect((await list({ runtime: "process" })).map(({ id }) => id)).toContain(finished);
      expect(await list({ name: "nothing" })).toEqual([]);
      const page = await ok("sms", "GET /v1/tasks", { query: { pageSize: "1" } });
      expect(page["tasks"]).toHaveLength(1);
      const next = await list({ pageSize: "1", pageToken: page["nextPageToken"] as string });
      expect(next[0]?.["id"]).not.toBe((page["tasks"] as Json[])[0]?.["id"]);
    },
    "GET /v1/tasks/{id}": async () => {
      const task = await ok("sms", "GET /v1/tasks/{id}", { path: { id: finished } });
      expect(task).toMatchObject({ state: "succeeded", attempt: 1, exitCode: 0, nodeId: node });
    },
    "POST /v1/tasks/{id}/cancel": async () => {
      const id = await world.submit({ mock: { hang: true } });
      await world.reaches(id, "running");
      await ok("sms", "POST /v1/tasks/{id}/cancel", { path: { id } });
      await world.reaches(id, "cancelled");
      const again = await ok("sms", "POST /v1/tasks/{id}/cancel", { path: { id } });
      expect(again).toMatchObject({ state: "cancelled" });
    },
    "GET /v1/tasks/{id}/history": async () => {
      const { events } = await ok("sms", "GET /v1/tasks/{id}/history", { path: { id: finished } });
      const states = (events as Json[]).map(({ to }) => to).filter((to) => to !== "");
      expect(states).toEqual(["pending", "assigned", "running", "succeeded"]);
    },
    "GET /v1/tasks/{id}/logs": async () => {
      const frames = (
        await world.rest("sms", "GET /v1/tasks/{id}/logs", { path: { id: finished } })
      ).text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as Json);
      const written = (stream: string) =>
        frames
          .filter((frame) => frame["stream"] === stream)
          .map(({ data }) => Buffer.from(data as string, "base64").toString())
          .join("");
      expect({ out: written("stdout"), err: written("stderr") }).toEqual({
        out: "out\n",
        err: "err\n",
      });
      expect(frames.at(-1)?.["end"]).toMatchObject({ id: finished, state: "succeeded" });
      const raw = await world.rest("sms", "GET /v1/tasks/{id}/logs", {
        path: { id: finished },
        query: { stream: "stdout" },
        headers: { accept: "application/octet-stream" },
      });
      expect(raw.text).toBe("out\n");
    },
    "GET /v1/events": async () => {
      const url = world.url("sms", "GET /v1/events", { query: { after: "0" } });
      expect(await firstMessage(url)).toMatchObject({ seq: 1, attempt: expect.any(Number) });
    },
    "GET /v1/tasks/{id}/events": async () => {
      const call = { path: { id: finished }, query: { after: "0" } };
      const event = await firstMessage(world.url("sms", "GET /v1/tasks/{id}/events", call));
      expect(event).toMatchObject({ taskId: finished, from: "", to: "pending" });
    },
    "GET /v1/nodes": async () => {
      const { nodes } = await ok("sms", "GET /v1/nodes", { query: { state: "ready" } });
      expect((nodes as Json[]).map(({ id }) => id)).toContain(node);
    },
    "GET /v1/nodes/{id}": async () => {
      const found = await ok("sms", "GET /v1/nodes/{id}", { path: { id: node } });
      expect(found).toMatchObject({ id: node, state: "ready", name: "node-1" });
    },
    "POST /v1/nodes/{id}/drain": async () => {
      const id = await world.paperNode();
      const drained = await ok("sms", "POST /v1/nodes/{id}/drain", { path: { id } });
      expect(drained).toMatchObject({ id, state: "draining" });
      const call = { path: { id }, body: { undo: true } };
      expect(await ok("sms", "POST /v1/nodes/{id}/drain", call)).toMatchObject({ state: "ready" });
      await ok("sms", "DELETE /v1/nodes/{id}", { path: { id } }, 204);
    },
    "DELETE /v1/nodes/{id}": async () => {
      const id = await world.paperNode();
      await ok("sms", "DELETE /v1/nodes/{id}", { path: { id } }, 204);
      const found = await world.rest("sms", "GET /v1/nodes/{id}", { path: { id } });
      expect(found.status === 404 || found.json["state"] === "left").toBe(true);
    },
  },
  spearlet: {
    ...operational("spearlet"),
    "GET /v1/health": async () => {
      expect(await ok("spearlet", "GET /v1/health")).toMatchObject({
        nodeId: node,
        smsConnected: true,
        redisConnected: true,
      });
    },
    "GET /v1/executions": async () => {
      const { executions } = await ok("spearlet", "GET /v1/executions");
      expect((executions as Json[]).map(({ taskId }) => taskId)).toContain(running);
    },
    "POST /v1/tasks": async () => {
      const body = { spec: { mock: { print: "local" } } };
      const task = await ok("spearlet", "POST /v1/tasks", { body }, 201);
      expect(await world.reaches(task["id"] as string, "succeeded")).toMatchObject({
        nodeId: node,
      });
    },
    "GET /v1/tasks/{id}": async () => {
      const execution = await ok("spearlet", "GET /v1/tasks/{id}", { path: { id: running } });
      expect(execution).toMatchObject({ taskId: running, attempt: 1, runtime: "mock" });
    },
    "POST /v1/tasks/{id}/terminate": async () => {
      const id = await world.submit({ mock: { hang: true } });
      await world.reaches(id, "running");
      await ok("spearlet", "POST /v1/tasks/{id}/terminate", { path: { id } });
      await world.reaches(id, "cancelled");
    },
    "GET /v1/tasks/{id}/logs": async () => {
      const raw = await world.rest("spearlet", "GET /v1/tasks/{id}/logs", {
        path: { id: finished },
        query: { stream: "stderr" },
        headers: { accept: "application/octet-stream" },
      });
      expect(raw.text).toBe("err\n");
    },
  },
  store: {
    ...operational("store"),
    "PUT /v1/buckets/{bucket}": async () => {
      const path = { bucket: "made-once" };
      const made = await ok("store", "PUT /v1/buckets/{bucket}", { path });
      expect(made).toMatchObject({ name: "made-once" });
      const call = { path, query: { ifAbsent: "true" } };
      expect(await ok("store", "PUT /v1/buckets/{bucket}", call)).toEqual(made);
      expect(await world.problem("store", "PUT /v1/buckets/{bucket}", { path })).toMatchObject({
        code: "bucket_exists",
      });
    },
    "GET /v1/buckets": async () => {
      const { bucket } = await bucketWith("x");
      const { buckets: all } = await ok("store", "GET /v1/buckets");
      expect((all as Json[]).map(({ name }) => name)).toContain(bucket);
    },
    "GET /v1/buckets/{bucket}": async () => {
      const { bucket } = await bucketWith("x");
      const path = { bucket };
      expect(await ok("store", "GET /v1/buckets/{bucket}", { path })).toMatchObject({
        name: bucket,
      });
    },
    "DELETE /v1/buckets/{bucket}": async () => {
      const { bucket } = await bucketWith("x");
      const path = { bucket };
      expect(await world.problem("store", "DELETE /v1/buckets/{bucket}", { path })).toMatchObject({
        code: "bucket_not_empty",
      });
      const object = { path: { bucket, key: "a/b.txt" } };
      await ok("store", "DELETE /v1/buckets/{bucket}/objects/{key}", object);
      await ok("store", "DELETE /v1/buckets/{bucket}", { path }, 204);
      expect(await world.problem("store", "GET /v1/buckets/{bucket}", { path })).toMatchObject({
        code: "bucket_not_found",
      });
    },
    "PUT /v1/buckets/{bucket}/objects/{key}": async () => {
      const { object } = await bucketWith("hello");
      expect(object).toMatchObject({
        key: "a/b.txt",
        sizeBytes: 5,
        sha256: new Bun.CryptoHasher("sha256").update("hello").digest("hex"),
        contentType: "text/plain",
        metadata: { lang: "en" },
      });
    },
    "GET /v1/buckets/{bucket}/objects/{key}": async () => {
      const { bucket, object } = await bucketWith("hello");
      const operation = "GET /v1/buckets/{bucket}/objects/{key}";
      const path = { bucket, key: "a/b.txt" };
      const whole = await world.rest("store", operation, { path });
      expect({ text: whole.text, etag: whole.headers.get("etag") }).toEqual({
        text: "hello",
        etag: `"${object["etag"] as string}"`,
      });
      const part = await world.rest("store", operation, { path, headers: { range: "bytes=1-3" } });
      expect({ status: part.status, text: part.text }).toEqual({ status: 206, text: "ell" });
    },
    "HEAD /v1/buckets/{bucket}/objects/{key}": async () => {
      const { bucket, object } = await bucketWith("hello");
      const path = { bucket, key: "a/b.txt" };
      const answer = await world.rest("store", "HEAD /v1/buckets/{bucket}/objects/{key}", { path });
      expect(answer.headers.get("content-length")).toBe("5");
      expect(answer.headers.get("x-spear-object-id")).toBe(object["id"] as string);
    },
    "DELETE /v1/buckets/{bucket}/objects/{key}": async () => {
      const { bucket } = await bucketWith("hello");
      const operation = "DELETE /v1/buckets/{bucket}/objects/{key}";
      const path = { bucket, key: "a/b.txt" };
      expect(await ok("store", operation, { path })).toEqual({ deleted: true });
      expect(await ok("store", operation, { path })).toEqual({ deleted: false });
    },
    "GET /v1/buckets/{bucket}/objects": async () => {
      const { bucket } = await bucketWith("hello");
      const list = (query: Record<string, string>) =>
        ok("store", "GET /v1/buckets/{bucket}/objects", { path: { bucket }, query });
      expect(await list({ delimiter: "/" })).toMatchObject({ objects: [], prefixes: ["a/"] });
      const { objects } = await list({ prefix: "a/" });
      expect((objects as Json[]).map(({ key }) => key)).toEqual(["a/b.txt"]);
    },
    "GET /v1/objects/{id}": async () => {
      const { object } = await bucketWith("hello");
      const path = { id: object["id"] as string };
      expect((await world.rest("store", "GET /v1/objects/{id}", { path })).text).toBe("hello");
    },
    "HEAD /v1/objects/{id}": async () => {
      const { object } = await bucketWith("hello");
      const path = { id: object["id"] as string };
      const answer = await world.rest("store", "HEAD /v1/objects/{id}", { path });
      expect(answer.headers.get("x-spear-sha256")).toBe(object["sha256"] as string);
    },
    "POST /v1/copies": async () => {
      const { bucket, object } = await bucketWith("hello");
      const body = { objectId: object["id"], bucket, key: "copy.txt" };
      expect(await ok("store", "POST /v1/copies", { body })).toMatchObject({
        id: object["id"],
        key: "copy.txt",
      });
    },
  },
};

describe.each([...programs])("%s", (program) => {
  const offered = restOperations(program);

  test.each(offered)("%s", async (operation) => {
    const run = tests[program][operation];
    if (run === undefined) throw new Error(`no contract test for ${program}: ${operation}`);
    await run();
  });

  test("every entry here is an operation", () => {
    expect(Object.keys(tests[program]).filter((name) => !offered.includes(name))).toEqual([]);
  });

  test("the running document is the committed one", async () => {
    const { json } = await world.rest(program, "GET /openapi.json");
    const operations = Object.entries(json["paths"] as Json).flatMap(([path, item]) =>
      Object.keys(item as Json).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(operations).toEqual(offered);
  });
});
