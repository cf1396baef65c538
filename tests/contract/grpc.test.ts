/**
 * Every gRPC method of every program is called through its descriptor, without
 * generated code, and answers. A method without an entry here fails by its name.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Fault } from "@spear/shared/fault.ts";
import { unimplementedMethods } from "@spear/shared/unimplemented.ts";
import { grpcMethods, programs, streams, type ProgramName } from "./operations.ts";
import { World, type Json } from "./world.ts";

let world: World;
let finished: string;
let running: string;
let node: string;

beforeAll(async () => {
  world = await World.start();
  finished = await world.submit({ process: { command: ["sh", "-c", "echo out; echo err >&2"] } });
  running = await world.submit({ mock: { hang: true } });
  await world.reaches(finished, "succeeded");
  node = (await world.reaches(running, "running"))["nodeId"] as string;
  await world.unary("store", "ObjectStore/CreateBucket", { name: "contract" });
});
afterAll(() => world[Symbol.asyncDispose]());

const base64 = (text: string) => Buffer.from(text).toString("base64");

/** What a stream of log chunks says on standard output. */
async function output(chunks: AsyncGenerator<Json>): Promise<string> {
  let text = "";
  for await (const { stream, data } of chunks) {
    if (stream === "stdout") text += Buffer.from((data as string) ?? "", "base64").toString();
  }
  return text;
}

/** The first message of a stream; leaves it then. */
async function first(stream: AsyncGenerator<Json>): Promise<Json> {
  for await (const message of stream) return message;
  throw new Error("the stream was empty");
}

const store = (method: string, request: Json) =>
  world.unary("store", `ObjectStore/${method}`, request);

function put(key: string, text: string): Promise<Json> {
  return world.upload("store", "ObjectStore/PutObject", [
    { header: { bucket: "contract", key } },
    ...[...text].map((letter) => ({ data: base64(letter) })),
  ]);
}

const tests: Record<ProgramName, Record<string, () => Promise<void>>> = {
  sms: {
    "NodeService/Register": async () => {
      expect(await world.paperNode()).toStartWith("node_");
    },
    "NodeService/Deregister": async () => {
      const nodeId = await world.paperNode();
      await world.unary("sms", "NodeService/Deregister", { nodeId });
      const { nodes } = await world.unary("sms", "NodeService/ListNodes", {
        state: "NODE_STATE_READY",
      });
      expect((nodes as Json[]).map(({ id }) => id)).not.toContain(nodeId);
    },
    "NodeService/Session": async () => {
      const nodeId = await world.paperNode();
      const session = world.converse("sms", "NodeService/Session");
      session.on("error", () => undefined);
      session.write({ hello: { nodeId, incarnation: "first" } });
      const { value } = (await session[Symbol.asyncIterator]().next()) as { value: Json };
      expect(value).toHaveProperty("welcome.leaseMs");
      session.end();
    },
    "NodeService/UpdateStatus": async () => {
      const nodeId = await world.paperNode();
      const { leaseMs } = await world.unary("sms", "NodeService/UpdateStatus", {
        nodeId,
        incarnation: "first",
        usage: { cpu: 0.5 },
      });
      expect(Number(leaseMs)).toBeGreaterThan(0);
    },
    "NodeService/ListNodes": async () => {
      const { nodes } = await world.unary("sms", "NodeService/ListNodes", {});
      expect((nodes as Json[]).map(({ id }) => id)).toContain(node);
    },
    "NodeService/GetNode": async () => {
      const found = await world.unary("sms", "NodeService/GetNode", { nodeId: node });
      expect(found).toMatchObject({ id: node, state: "NODE_STATE_READY", name: "node-1" });
    },
    "NodeService/DrainNode": async () => {
      const nodeId = await world.paperNode();
      const drain = (undo: boolean) =>
        world.unary("sms", "NodeService/DrainNode", { nodeId, undo });
      expect(await drain(false)).toMatchObject({ state: "NODE_STATE_DRAINING" });
      expect(await drain(true)).toMatchObject({ state: "NODE_STATE_READY" });
    },
    "TaskService/SubmitTask": async () => {
      const request = { spec: { mock: { print: "hi" } }, idempotencyKey: crypto.randomUUID() };
      const task = await world.unary("sms", "TaskService/SubmitTask", request);
      expect(task).toMatchObject({ spec: request.spec, runtime: "mock" });
      const again = await world.unary("sms", "TaskService/SubmitTask", request);
      expect(again["id"]).toBe(task["id"]);
    },
    "TaskService/SubmitTasks": async () => {
      const specs = [{ mock: {} }, { mock: { print: "x" } }];
      const { taskIds } = await world.unary("sms", "TaskService/SubmitTasks", { specs });
      expect(taskIds).toHaveLength(2);
      for (const id of taskIds as string[]) await world.reaches(id, "succeeded");
    },
    "TaskService/GetTask": async () => {
      const task = await world.unary("sms", "TaskService/GetTask", { taskId: finished });
      expect(task).toMatchObject({
        id: finished,
        state: "TASK_STATE_SUCCEEDED",
        exitCode: 0,
        nodeId: node,
      });
    },
    "TaskService/ListTasks": async () => {
      const { tasks } = await world.unary("sms", "TaskService/ListTasks", {
        states: ["TASK_STATE_RUNNING"],
        runtime: "mock",
      });
      expect((tasks as Json[]).map(({ id }) => id)).toEqual([running]);
    },
    "TaskService/CancelTask": async () => {
      const taskId = await world.submit({ mock: { hang: true } });
      await world.reaches(taskId, "running");
      await world.unary("sms", "TaskService/CancelTask", { taskId });
      await world.reaches(taskId, "cancelled");
    },
    "TaskService/WatchTasks": async () => {
      const request = { taskId: finished, afterSeq: "0" };
      const event = await first(world.stream("sms", "TaskService/WatchTasks", request));
      expect(event).toMatchObject({ taskId: finished, to: "pending" });
    },
    "TaskService/ReadLogs": async () => {
      const chunks = world.stream("sms", "TaskService/ReadLogs", { taskId: finished });
      expect(await output(chunks)).toBe("out\n");
    },
  },
  spearlet: {
    "TaskService/SubmitTask": async () => {
      const task = await world.unary("spearlet", "TaskService/SubmitTask", { spec: { mock: {} } });
      expect(await world.reaches(task["id"] as string, "succeeded")).toMatchObject({
        nodeId: node,
      });
    },
    "TaskService/GetTask": async () => {
      const request = { taskId: running };
      expect(await world.unary("spearlet", "TaskService/GetTask", request)).toMatchObject({
        taskId: running,
        phase: "EXECUTION_PHASE_RUNNING",
      });
    },
    "TaskService/TerminateTask": async () => {
      const taskId = await world.submit({ mock: { hang: true } });
      await world.reaches(taskId, "running");
      await world.unary("spearlet", "TaskService/TerminateTask", { taskId });
      await world.reaches(taskId, "cancelled");
    },
    "TaskService/WatchTask": async () => {
      const request = { taskId: running };
      expect(await first(world.stream("spearlet", "TaskService/WatchTask", request))).toMatchObject(
        { taskId: running, phase: "EXECUTION_PHASE_RUNNING" },
      );
    },
    "TaskService/ReadLogs": async () => {
      const chunks = world.stream("spearlet", "TaskService/ReadLogs", { taskId: finished });
      expect(await output(chunks)).toBe("out\n");
    },
    "HealthService/GetHealth": async () => {
      expect(await world.unary("spearlet", "HealthService/GetHealth", {})).toMatchObject({
        nodeId: node,
        smsConnected: true,
        redisConnected: true,
      });
    },
  },
  store: {
    "ObjectStore/CreateBucket": async () => {
      const bucket = await store("CreateBucket", { name: "created" });
      expect(bucket).toMatchObject({ name: "created" });
      expect(await store("CreateBucket", { name: "created", ifAbsent: true })).toEqual(bucket);
    },
    "ObjectStore/DeleteBucket": async () => {
      await store("CreateBucket", { name: "short-lived" });
      await store("DeleteBucket", { name: "short-lived" });
      const { buckets } = await store("ListBuckets", {});
      expect((buckets as Json[]).map(({ name }) => name)).not.toContain("short-lived");
    },
    "ObjectStore/ListBuckets": async () => {
      const { buckets } = await store("ListBuckets", {});
      expect((buckets as Json[]).map(({ name }) => name)).toContain("contract");
    },
    "ObjectStore/PutObject": async () => {
      expect(await put("put", "hello")).toMatchObject({ bucket: "contract", sizeBytes: "5" });
    },
    "ObjectStore/GetObject": async () => {
      const object = await put("get", "hello");
      const request = { bucket: "contract", key: "get", offset: "1", length: "3" };
      let text = "";
      let described: unknown;
      for await (const message of world.stream("store", "ObjectStore/GetObject", request)) {
        if (message["object"] !== undefined) described = message["object"];
        else text += Buffer.from(message["data"] as string, "base64").toString();
      }
      expect(described).toMatchObject({ id: object["id"] });
      expect(text).toBe("ell");
    },
    "ObjectStore/HeadObject": async () => {
      const object = await put("head", "hello");
      expect(await store("HeadObject", { bucket: "contract", key: "head" })).toEqual(object);
    },
    "ObjectStore/ListObjects": async () => {
      await put("list/a", "1");
      await put("list/b/c", "1");
      const { objects, prefixes } = await store("ListObjects", {
        bucket: "contract",
        prefix: "list/",
        delimiter: "/",
      });
      expect((objects as Json[]).map(({ key }) => key)).toEqual(["list/a"]);
      expect(prefixes).toEqual(["list/b/"]);
    },
    "ObjectStore/DeleteObject": async () => {
      await put("delete", "1");
      const request = { bucket: "contract", key: "delete" };
      expect(await store("DeleteObject", request)).toEqual({ deleted: true });
      expect(await store("DeleteObject", request)).toEqual({});
    },
    "ObjectStore/CopyObject": async () => {
      const { id } = await put("source", "1");
      const request = { objectId: id, bucket: "contract", key: "target" };
      expect(await store("CopyObject", request)).toMatchObject({ id, key: "target" });
    },
  },
};

const fullName = (program: ProgramName, method: string) => `spear.${program}.v1.${method}`;

/** Calls a method in its own way and resolves with the fault that it answers. */
async function faultOf(program: ProgramName, method: string): Promise<Fault> {
  const { client, server } = streams(program, method);
  const call = server
    ? first(world.stream(program, method, {}))
    : client
      ? world.upload(program, method, [])
      : world.unary(program, method, {});
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof Fault) return error;
  throw new Error(`${method} did not fail`, { cause: error });
}

describe.each([...programs])("%s", (program) => {
  const offered = grpcMethods(program);
  const isBuilt = (method: string) => !unimplementedMethods.includes(fullName(program, method));

  test.each(offered.filter(isBuilt))("%s", async (method) => {
    const run = tests[program][method];
    if (run === undefined) throw new Error(`no contract test for ${fullName(program, method)}`);
    await run();
  });

  test.each(offered.filter((method) => !isBuilt(method)))(
    "%s answers UNIMPLEMENTED",
    async (method) => {
      expect((await faultOf(program, method)).code).toBe("unimplemented");
    },
  );

  test("every entry here is a method that is built", () => {
    const named = Object.keys(tests[program]);
    expect(named.filter((method) => !offered.includes(method) || !isBuilt(method))).toEqual([]);
  });

  test("every method of the list exists", () => {
    const all = programs.flatMap((each) => grpcMethods(each).map((name) => fullName(each, name)));
    expect(unimplementedMethods.filter((name) => !all.includes(name))).toEqual([]);
  });

  test("reflection lists what the program serves", async () => {
    const call = world.converse(
      program,
      "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    );
    call.write({ listServices: "" });
    call.end();
    const { value } = (await call[Symbol.asyncIterator]().next()) as { value: Json };
    const { service } = value["listServicesResponse"] as { service: { name: string }[] };
    const own = service.map(({ name }) => name).filter((name) => name.startsWith("spear."));
    const wanted = offered.map((method) => fullName(program, method).split("/")[0] ?? "");
    expect(own.toSorted()).toEqual([...new Set(wanted)].toSorted());
  });

  test("the standard health service says that it is ready", async () => {
    expect(await world.unary(program, "grpc.health.v1.Health/Check", {})).toEqual({
      status: "SERVING",
    });
  });
});
