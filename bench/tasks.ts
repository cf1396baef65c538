/**
 * No-op tasks through SMS → BullMQ → SPEARlet, against raw BullMQ on the same
 * redis-server. Rounds alternate, so that a machine whose speed drifts drifts for
 * both; medians are quoted.
 */
import { ChannelCredentials } from "@grpc/grpc-js";
import { TaskServiceClient } from "@spear/proto/gen/spear/sms/v1/task.ts";
import { TaskSpec, TaskState } from "@spear/proto/gen/spear/common/v1/task.ts";
import { messages, unary } from "@spear/shared/grpc/client.ts";
import { Queue, QueueEvents, Worker } from "bullmq";
import { Redis } from "ioredis";
import { Cluster, until } from "../tests/programs.ts";
import { type Measure, median, quantile } from "./measure.ts";

const rounds = 5;
const tasksPerRound = 5_000;
const bulk = 500;
/** Slots of the node, and jobs that the BullMQ worker takes at once. */
const concurrency = 1_000;
/** Rounds that are not counted: both sides' code is compiled as it runs. */
const warmUps = 3;
const probes = 200;
/** Pause between latency probes, so that the cluster is idle for each, in milliseconds. */
const idleMs = 10;

const ends = [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.TIMED_OUT, TaskState.CANCELLED];

/** Submits `count` no-op tasks in bulk and waits until all have ended; seconds it took. */
export async function spearRound(client: TaskServiceClient, count: number): Promise<number> {
  const stop = new AbortController();
  let left = count;
  const watching = (async () => {
    const stream = client.watchTasks({ taskId: "", states: ends });
    for await (const event of messages(stream, stop.signal)) {
      if (event.to !== "succeeded") throw new Error(`a task ${event.to}`);
      if (--left === 0) return;
    }
  })();
  // The watch must be open before the first task ends.
  await unary(client, client.listTasks, {
    states: [],
    nodeId: "",
    runtime: "",
    name: "",
    labels: {},
    pageSize: 1,
    pageToken: "",
  });
  const spec = TaskSpec.fromPartial({ mock: {}, resources: { cpu: 0, memoryBytes: 0 } });
  const start = performance.now();
  const batches = Array.from({ length: count / bulk }, () =>
    unary(
      client,
      client.submitTasks,
      { specs: Array.from({ length: bulk }, () => spec) },
      { timeoutMs: 60_000 },
    ),
  );
  await Promise.all(batches);
  await watching;
  const seconds = (performance.now() - start) / 1000;
  stop.abort();
  return seconds;
}

/** The same number of jobs added in bulk and processed by one BullMQ worker; seconds it took. */
export async function bullRound(url: string, count: number): Promise<number> {
  const connection = () => new Redis(url, { maxRetriesPerRequest: null, protocol: 2 });
  const connections = [connection(), connection()] as const;
  const queue = new Queue("raw", { connection: connections[0] });
  const { promise: done, resolve } = Promise.withResolvers<void>();
  let left = count;
  const worker = new Worker(
    "raw",
    () => {
      if (--left === 0) resolve();
      return Promise.resolve();
    },
    { connection: connections[1], concurrency, removeOnComplete: { count: 0 } },
  );
  await worker.waitUntilReady();
  const data = { spec: { mock: {}, resources: { cpu: 0, memoryBytes: 0 } } };
  const start = performance.now();
  const adds = Array.from({ length: count / bulk }, () =>
    queue.addBulk(Array.from({ length: bulk }, () => ({ name: "attempt", data }))),
  );
  await Promise.all(adds);
  await done;
  const seconds = (performance.now() - start) / 1000;
  await worker.close();
  await queue.obliterate({ force: true });
  await queue.close();
  for (const one of connections) one.disconnect();
  return seconds;
}

/** Submit → running on an idle cluster, as a client sees it, in milliseconds. */
async function spearLatencies(client: TaskServiceClient): Promise<number[]> {
  const stop = new AbortController();
  const started = new Map<string, () => void>();
  const early = new Set<string>();
  const watching = (async () => {
    for await (const event of messages(
      client.watchTasks({ taskId: "", states: [] }),
      stop.signal,
    )) {
      if (event.to !== "running") continue;
      early.add(event.taskId);
      started.get(event.taskId)?.();
    }
  })().catch(() => undefined);
  const spec = TaskSpec.fromPartial({ mock: {}, resources: { cpu: 0, memoryBytes: 0 } });
  const latencies: number[] = [];
  for (let probe = 0; probe < probes; probe++) {
    const start = performance.now();
    const task = await unary(client, client.submitTask, { spec, idempotencyKey: "" });
    if (!early.has(task.id)) await new Promise<void>((resolve) => started.set(task.id, resolve));
    latencies.push(performance.now() - start);
    await Bun.sleep(idleMs);
  }
  stop.abort();
  await watching;
  return latencies.slice(probes / 10);
}

/** Add → active on an idle queue, by QueueEvents, in milliseconds. */
async function bullLatencies(url: string): Promise<number[]> {
  const connection = () => new Redis(url, { maxRetriesPerRequest: null, protocol: 2 });
  const connections = [connection(), connection(), connection()] as const;
  const queue = new Queue("idle", { connection: connections[0] });
  const worker = new Worker("idle", () => Promise.resolve(), { connection: connections[1] });
  const events = new QueueEvents("idle", { connection: connections[2] });
  await Promise.all([worker.waitUntilReady(), events.waitUntilReady()]);
  const latencies: number[] = [];
  for (let probe = 0; probe < probes; probe++) {
    const active = new Promise<void>((resolve) => events.once("active", () => resolve()));
    const start = performance.now();
    await queue.add("attempt", {});
    await active;
    latencies.push(performance.now() - start);
    await Bun.sleep(idleMs);
  }
  await Promise.all([worker.close(), events.close(), queue.close()]);
  for (const one of connections) one.disconnect();
  return latencies.slice(probes / 10);
}

export async function run(): Promise<Measure[]> {
  await using cluster = await Cluster.start({
    nodes: 1,
    sms: { logLevel: "warn" },
    spearlet: { runtimes: "mock", slots: concurrency, logLevel: "warn" },
  });
  await until("the node to be ready", async () => {
    const { nodes } = await cluster.api<{ nodes: { state: string }[] }>("GET", "/v1/nodes");
    return nodes.some((node) => node.state === "ready");
  });
  const client = new TaskServiceClient(cluster.sms.grpc, ChannelCredentials.createInsecure());
  for (let round = 0; round < warmUps; round++) {
    await spearRound(client, tasksPerRound);
    await bullRound(cluster.redis.url, tasksPerRound);
  }
  const ours: number[] = [];
  const baseline: number[] = [];
  for (let round = 0; round < rounds; round++) {
    ours.push(tasksPerRound / (await spearRound(client, tasksPerRound)));
    baseline.push(tasksPerRound / (await bullRound(cluster.redis.url, tasksPerRound)));
  }
  const latency = await spearLatencies(client);
  const bullLatency = await bullLatencies(cluster.redis.url);
  client.close();
  return [
    {
      name: "no-op tasks, end to end",
      unit: "tasks/s",
      ours: median(ours),
      baseline: median(baseline),
      baselineName: "raw BullMQ",
      ratio: median(ours.map((rate, index) => rate / (baseline[index] ?? Number.NaN))),
    },
    {
      name: "submit → running, idle",
      unit: "ms",
      ours: median(latency),
      baseline: median(bullLatency),
      baselineName: "BullMQ add → active",
      ratio: median(latency) / median(bullLatency),
      p50Ms: median(latency),
      p99Ms: quantile(latency, 0.99),
    },
  ];
}
