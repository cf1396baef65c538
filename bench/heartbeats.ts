/**
 * A thousand nodes that only send heartbeats, each over a connection of its own:
 * what SMS and Redis need of a core for them. CPU time, not wall-clock time, so
 * that whatever else the machine does hardly matters.
 */
import { ChannelCredentials, type ClientDuplexStream } from "@grpc/grpc-js";
import { Node } from "@spear/proto/gen/spear/common/v1/node.ts";
import {
  NodeServiceClient,
  type SessionRequest,
  type SessionResponse,
} from "@spear/proto/gen/spear/sms/v1/node.ts";
import { unary } from "@spear/shared/grpc/client.ts";
import { readFile } from "node:fs/promises";
import { Program } from "../tests/programs.ts";
import { startRedis } from "../tests/redis.ts";
import type { Measure } from "./measure.ts";

const nodeCount = 1_000;
const joinAtOnce = 50;
const heartbeatMs = 1_000;
const measureMs = 10_000;
/** Clock ticks a second in /proc/PID/stat. */
const ticks = 100;
/** Shares of a core that the two may need. */
const budgets = { sms: 0.5, redis: 0.25 };

/** CPU time of a process so far, in milliseconds. */
async function cpuMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / ticks;
}

interface Beating extends Disposable {
  readonly sent: () => number;
  readonly failed: () => unknown;
}

/** One node: registered, with a session that beats. */
async function join(address: string, number: number): Promise<Beating> {
  const client = new NodeServiceClient(address, ChannelCredentials.createInsecure(), {
    // One connection each, as from a thousand machines.
    "grpc.use_local_subchannel_pool": 1,
  });
  const incarnation = `run-${number}`;
  const node = Node.fromPartial({
    name: `node-${number}`,
    incarnation,
    grpcAddress: "127.0.0.1:1",
    capacity: { cpu: 4, memoryBytes: 2 ** 33, slots: 16 },
    runtimes: [{ name: "mock", version: "1" }],
  });
  const { nodeId } = await unary(
    client,
    client.register,
    { node, joinToken: "", nodeCredential: "" },
    { timeoutMs: 60_000 },
  );
  const stream: ClientDuplexStream<SessionRequest, SessionResponse> = client.session();
  let failure: unknown;
  let sent = 0;
  stream.on("error", (error) => {
    failure = error;
  });
  const welcomed = new Promise((resolve) => stream.once("data", resolve));
  stream.write({
    body: {
      $case: "hello",
      value: { nodeId, incarnation, held: [], clusterId: "", session: 1, nodeCredential: "" },
    },
  });
  await welcomed;
  stream.on("data", () => undefined);
  const usage = { cpu: 0.5, memoryBytes: 2 ** 30, running: 0, diskFreeBytes: 2 ** 36, load1: 1 };
  const timer = setInterval(() => {
    stream.write({ body: { $case: "heartbeat", value: usage } });
    sent++;
  }, heartbeatMs);
  return {
    sent: () => sent,
    failed: () => failure,
    [Symbol.dispose]: () => {
      clearInterval(timer);
      stream.cancel();
      client.close();
    },
  };
}

export async function run(): Promise<Measure[]> {
  await using redis = await startRedis();
  const flags = {
    redisUrl: redis.url,
    httpListen: "127.0.0.1:0",
    grpcListen: "127.0.0.1:0",
    heartbeatMs,
    leaseMs: 60_000,
    logLevel: "error",
  };
  await using sms = await new Program("sms", { flags }).start();
  using nodes = new DisposableStack();
  const beating: Beating[] = [];
  for (let first = 0; first < nodeCount; first += joinAtOnce) {
    const numbers = Array.from({ length: joinAtOnce }, (_, index) => first + index);
    const joined = await Promise.all(numbers.map((number) => join(sms.grpc, number)));
    for (const node of joined) beating.push(nodes.use(node));
  }
  const counted = () => beating.reduce((sum, node) => sum + node.sent(), 0);
  await Bun.sleep(heartbeatMs * 2);
  const before = [
    await cpuMs(sms.pid),
    await cpuMs(redis.pid),
    counted(),
    performance.now(),
  ] as const;
  await Bun.sleep(measureMs);
  const after = [
    await cpuMs(sms.pid),
    await cpuMs(redis.pid),
    counted(),
    performance.now(),
  ] as const;
  const failed = beating.find((node) => node.failed() !== undefined)?.failed();
  if (failed !== undefined) throw new Error("a session broke", { cause: failed });
  // A slow machine sends fewer: what counts is the time for as many as there should have been.
  const due = (nodeCount * (after[3] - before[3])) / heartbeatMs;
  const scale = due / (after[2] - before[2]) / (after[3] - before[3]);
  const measure = (name: "sms" | "redis", spentMs: number): Measure => ({
    name: `${name} with ${nodeCount} nodes beating`,
    unit: "cores",
    ours: spentMs * scale,
    baseline: budgets[name],
    baselineName: "budget",
    ratio: (spentMs * scale) / budgets[name],
  });
  return [measure("sms", after[0] - before[0]), measure("redis", after[1] - before[1])];
}
