/** Two SMS over one Redis, as real processes: who leads, who takes over, and what streams see of it. */
import { systemIds, type NodeId } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { Event, Task } from "@spear/shared/task.ts";
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Redis } from "ioredis";
import { NodeRecords } from "../../apps/sms/src/nodes/redis.ts";
import { Program, until } from "../programs.ts";
import { startRedis, type TestRedis } from "../redis.ts";

const keys = new Keys();
let server: TestRedis;
let redis: Redis;
let nodes: NodeRecords;
const replicas: Program[] = [];

beforeAll(async () => {
  server = await startRedis();
  redis = connectRedis(server.url, "commands", silentLog);
  nodes = new NodeRecords(redis, keys, 1_000);
  const flags = {
    redisUrl: server.url,
    httpListen: "127.0.0.1:0",
    grpcListen: "127.0.0.1:0",
    reconcileMs: 100,
    logLevel: "silent",
  };
  replicas.push(new Program("sms", { flags }), new Program("sms", { flags }));
  await Promise.all(replicas.map((replica) => replica.start()));
});
afterAll(async () => {
  await Promise.all(replicas.map((replica) => replica[Symbol.asyncDispose]()));
  redis.disconnect();
  await server[Symbol.asyncDispose]();
});

/** The replica that leads, and its epoch. */
async function leading(): Promise<{ leader: Program; other: Program; epoch: number }> {
  return until("a leader", async () => {
    const [holder, epoch] = await redis.mget(keys.leader, keys.leaderEpoch);
    const leader = replicas.find(({ pid }) => holder?.startsWith(`${pid}-`));
    const other = replicas.find((replica) => replica !== leader);
    return leader && other && { leader, other, epoch: Number(epoch) };
  });
}

/** A node that is never heard of again; resolves once it was given up. */
async function verdict(withinMs: number): Promise<void> {
  const id: NodeId = systemIds.next("node");
  const capacity = { cpu: 1, memoryBytes: 1, slots: 1, extras: {} };
  const facts = { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" };
  const name = "silent";
  await nodes.register(
    { id, name, incarnation: "i", httpAddress: "", grpcAddress: "127.0.0.1:1", capacity, facts, labels: {}, runtimes: [] },
    Date.now(),
    200,
  ); // prettier-ignore
  await until("the verdict", async () => (await nodes.get(id))?.state === "down", withinMs);
}

async function submit(replica: Program): Promise<Task> {
  const response = await fetch(`http://${replica.http}/v1/tasks`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ spec: { mock: {} } }),
  });
  expect(response.status).toBe(201);
  return (await response.json()) as Task;
}

/** Collects the events of a replica behind a sequence number. */
function watch(replica: Program, after: number) {
  const events: Event[] = [];
  const socket = new WebSocket(`ws://${replica.http}/v1/events?after=${after}`);
  socket.addEventListener("message", ({ data }) => events.push(JSON.parse(String(data)) as Event));
  return { events, [Symbol.dispose]: () => socket.close() };
}

test("one leads; a leader that is killed is followed under a new epoch, and a stream goes on elsewhere", async () => {
  const { leader, other, epoch } = await leading();
  await verdict(10_000);

  using before = watch(leader, 0);
  const first = await submit(other);
  await until("the first event", () => before.events.some(({ taskId }) => taskId === first.id));
  const seen = before.events.at(-1)?.seq ?? 0;

  await leader.kill("SIGKILL");
  // Any replica serves while nobody leads.
  const second = await submit(other);
  const killedMs = Date.now();
  const next = await until("another leader", async () => {
    const now = await leading();
    return now.epoch > epoch && now;
  });
  expect(next.leader).toBe(other);
  // 2.5 s by the settings; the rest is for a loaded machine.
  expect(Date.now() - killedMs).toBeLessThan(6_000);
  await verdict(10_000);

  using after = watch(other, seen);
  await until("the second event", () => after.events.some(({ taskId }) => taskId === second.id));
  expect(after.events.map(({ seq }) => seq)).toEqual(
    after.events.map((_, index) => seen + 1 + index),
  );
  await leader.restartAt(leader.http, leader.grpc);
  expect((await leading()).epoch).toBe(next.epoch);
});

test("a leader that stood still finds another in its place, and a verdict of the old epoch is refused", async () => {
  const { leader, other, epoch } = await leading();
  await leader.kill("SIGSTOP");
  try {
    await until("another leader", async () => (await leading()).leader === other);
  } finally {
    await leader.kill("SIGCONT");
  }
  await verdict(10_000);
  const [node] = await nodes.list();
  const late = await nodes.setState(node?.id as NodeId, "down", "test", Date.now(), { epoch });
  expect(late).toBe("deposed");
  expect((await leading()).leader).toBe(other);
});

test("a leader that ends gives the lead back at once", async () => {
  const { leader, other, epoch } = await leading();
  await leader.kill("SIGTERM");
  expect((await redis.get(keys.leader)) ?? "").not.toStartWith(`${leader.pid}-`);
  const next = await until("another leader", async () => {
    const now = await leading();
    return now.epoch > epoch && now;
  });
  expect(next.leader).toBe(other);
  await leader.restartAt(leader.http, leader.grpc);
});
