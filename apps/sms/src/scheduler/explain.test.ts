/** `why` of a real SMS over both transports; its nodes are records that the test writes. */
import { ChannelCredentials } from "@grpc/grpc-js";
import { taskStateToProto } from "@spear/proto/enums.ts";
import { TaskServiceClient } from "@spear/proto/gen/spear/sms/v1/task.ts";
import { loadConfig } from "@spear/shared/config.ts";
import type { Explanation } from "@spear/shared/explanation.ts";
import { unary } from "@spear/shared/grpc/client.ts";
import { type NodeId, systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import type { Started } from "@spear/shared/program.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { Task, TaskSpec } from "@spear/shared/task.ts";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { until } from "../../../../tests/programs.ts";
import { smsConfig } from "../config.ts";
import { NodeRecords } from "../nodes/redis.ts";
import { start } from "../sms.ts";

const namespace = `t${Math.random().toString(36).slice(2, 10)}`;
const redisUrl = process.env["SPEAR_TEST_REDIS"] ?? "";
const redis = connectRedis(redisUrl, "commands", silentLog);
const nodes = new NodeRecords(redis, new Keys(namespace), 1_000);
let sms: Started;

beforeAll(async () => {
  const flags = {
    redisUrl,
    namespace,
    httpListen: "127.0.0.1:0",
    grpcListen: "127.0.0.1:0",
    logLevel: "silent",
  };
  const config = loadConfig("sms", smsConfig, { flags, environment: {} });
  sms = await start(config, { log: silentLog });
});
afterAll(async () => {
  await sms[Symbol.asyncDispose]();
  redis.disconnect();
});

async function addNode(name: string, zone: string, cpu: number): Promise<NodeId> {
  const id = systemIds.next("node");
  await nodes.register(
    {
      id,
      name,
      incarnation: "i",
      httpAddress: "",
      grpcAddress: "127.0.0.1:1",
      capacity: { cpu, memoryBytes: 2 ** 30, slots: 4, extras: {} },
      labels: { zone },
      runtimes: [{ name: "mock", version: "1" }],
      facts: { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" },
    },
    Date.now(),
    60_000,
  );
  return id;
}

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await fetch(`http://${sms.http}${path}`, {
    method,
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return (await response.json()) as T;
}
const submit = (spec: TaskSpec) => call<Task>("POST", "/v1/tasks", { spec });
const why = (id: string) => call<Explanation>("GET", `/v1/tasks/${id}/why`);

test("a task's whole way: no node, then the wrong ones, then one that will do", async () => {
  const { id } = await submit({
    mock: {},
    resources: { cpu: 2 },
    constraints: ["label.zone == eu"],
  });
  expect(await why(id)).toMatchObject({
    state: "pending",
    summary: "no node can take it now: there is no node",
    changes: ["one more node with label zone=eu that offers mock and has 2 cpu, 64 MiB free"],
    nodes: [],
  });

  await addNode("far", "us", 8);
  await addNode("small", "eu", 0.5);
  const waiting = await until("both nodes to be seen", async () => {
    const now = await why(id);
    return now.nodes.length === 2 ? now : undefined;
  });
  expect(waiting.changes.slice(0, 2).toSorted()).toEqual([
    "cpu at most 0.5",
    "without the condition label.zone == eu",
  ]);
  expect(waiting.nodes.map(({ name, reasons }) => [name, ...reasons]).toSorted()).toEqual([
    ["far", "does not satisfy label.zone == eu"],
    ["small", "needs 2 cpu, 0.5 free"],
  ]);

  const nodeId = await addNode("right", "eu", 4);
  const placed = await until("the task to be placed", async () => {
    const now = await why(id);
    return now.state === "assigned" ? now : undefined;
  });
  expect(placed).toMatchObject({
    summary: "it is on node right; no other node could take it as things are now",
    changes: [],
  });
  expect(placed.nodes[0]).toMatchObject({
    nodeId,
    chosen: true,
    reasons: [],
    score: { room: 500, affinity: 0, penalty: 0, locality: 0, spread: 0 },
  });

  const client = new TaskServiceClient(sms.grpc, ChannelCredentials.createInsecure());
  try {
    const { state, ...rest } = await unary(client, client.explainTask, { taskId: id });
    expect(state).toBe(taskStateToProto("assigned"));
    expect(rest).toMatchObject({ summary: placed.summary, nodes: [{ nodeId }, {}, {}] });
  } finally {
    client.close();
  }

  await call("POST", `/v1/tasks/${id}/cancel`);
  expect(await why(id)).toMatchObject({ summary: "it has ended: cancelled", nodes: [] });
});

test("a delayed task says when", async () => {
  const { id, createdAtMs } = await submit({ mock: {}, delayMs: 60_000 });
  expect((await why(id)).summary).toBe(
    `it may not start before ${new Date(createdAtMs + 60_000).toISOString()}`,
  );
});

test("a task that there is not is a 404", async () => {
  expect(await call("GET", `/v1/tasks/${systemIds.next("task")}/why`)).toMatchObject({
    status: 404,
    code: "task_not_found",
  });
});
