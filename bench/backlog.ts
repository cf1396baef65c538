/**
 * What a long backlog costs: a scheduler's step over few and over very many waiting
 * tasks, and the memory that Redis needs for each. `SPEAR_BENCH_BACKLOG` is how many.
 */
import { jobOfOne, systemIds } from "@spear/shared/ids.ts";
import { systemClock } from "@spear/shared/clock.ts";
import { silentLog } from "@spear/shared/log.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import type { Redis } from "ioredis";
import { NodeRecords } from "../apps/sms/src/nodes/redis.ts";
import { Scheduler } from "../apps/sms/src/scheduler/scheduler.ts";
import { ClusterView } from "../apps/sms/src/scheduler/view.ts";
import { TaskRecords } from "../apps/sms/src/tasks/redis.ts";
import type { RecordStore } from "../apps/sms/src/tasks/store.ts";
import { startRedis } from "../tests/redis.ts";
import { type Measure, median } from "./measure.ts";

const few = 1_000;
const many = Number(process.env["SPEAR_BENCH_BACKLOG"] ?? 100_000);
const classes = 20;
const steps = 50;
const batch = 500;
/** What a task may cost beyond its spec, in bytes. */
const budget = 1_024;

/** Waits on every node there is: none has so much memory. */
const specOf = (number: number): TaskSpec => ({
  process: { command: ["python3", "-c", "print('hello')"] },
  resources: { cpu: 1, memoryBytes: 2 ** 40 + (number % classes) },
  labels: { team: "a" },
});

async function submit(records: RecordStore, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += batch) {
    const numbers = Array.from({ length: Math.min(batch, to - at) }, (_, index) => at + index);
    await Promise.all(
      numbers.map((number) => {
        const id = systemIds.next("task");
        const spec = specOf(number);
        const task = {
          id,
          jobId: jobOfOne(id),
          spec,
          idempotencyKey: undefined,
          nodeId: undefined,
        };
        return records.submit(task, Date.now());
      }),
    );
  }
}

/** Milliseconds that a step takes, from its first command to the answer to its last. */
async function stepMs(records: TaskRecords, nodes: NodeRecords): Promise<number> {
  let begun = 0;
  let ended: () => void = () => undefined;
  const watched = new Proxy<RecordStore>(records, {
    get: (target, name) => {
      const method = Reflect.get(target, name) as (...args: unknown[]) => Promise<unknown>;
      return async (...args: unknown[]) => {
        if (name === "promote") begun = performance.now();
        const answer = await Reflect.apply(method, target, args);
        if (name === "nextDueMs") ended();
        return answer;
      };
    },
  });
  const nothing = () => Promise.resolve();
  const { promise: first, resolve } = Promise.withResolvers<void>();
  ended = resolve;
  await using scheduler = new Scheduler({
    records: watched,
    view: new ClusterView(nodes, systemClock, "binpack"),
    dispatcher: {
      send: () => undefined,
      sendAgain: () => undefined,
      forget: nothing,
      settled: nothing,
    },
    events: { listen: () => () => undefined },
    clock: systemClock,
    reserveAfterMs: 1_000_000,
    log: silentLog,
  });
  await first;
  const times: number[] = [];
  for (let step = 0; step < steps; step++) {
    const { promise, resolve: done } = Promise.withResolvers<void>();
    ended = done;
    scheduler.wake();
    await promise;
    times.push(performance.now() - begun);
  }
  return median(times);
}

async function usedBytes(redis: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.info("memory"))?.[1]);
}

export async function run(): Promise<Measure[]> {
  await using server = await startRedis();
  const redis = connectRedis(server.url, "blocking", silentLog);
  try {
    const keys = new Keys("backlog");
    const records = new TaskRecords(redis, keys, 1_000_000);
    const nodes = new NodeRecords(redis, keys, 1_000_000);
    await nodes.register(
      {
        id: systemIds.next("node"),
        name: "n",
        incarnation: "i",
        httpAddress: "",
        grpcAddress: "",
        capacity: { cpu: 64, memoryBytes: 2 ** 36, slots: 100, extras: {} },
        labels: {},
        runtimes: [{ name: "process", version: "" }],
        facts: { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" },
      },
      Date.now(),
      86_400_000,
    );
    await submit(records, 0, few);
    const withFew = await stepMs(records, nodes);
    const before = await usedBytes(redis);
    await submit(records, few, many);
    const bytes =
      ((await usedBytes(redis)) - before) / (many - few) - JSON.stringify(specOf(0)).length;
    const withMany = await stepMs(records, nodes);
    return [
      {
        name: `a step with ${many} tasks waiting`,
        unit: "ms",
        ours: withMany,
        baseline: withFew,
        baselineName: `${few} waiting`,
        ratio: withMany / withFew,
      },
      {
        name: "memory of a waiting task beyond its spec",
        unit: "bytes",
        ours: bytes,
        baseline: budget,
        baselineName: "budget",
        ratio: bytes / budget,
      },
    ];
  } finally {
    redis.disconnect();
  }
}
