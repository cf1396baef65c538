/**
 * A bucket of very many small objects (`--objects`, default 100,000), each put as any
 * other: the time of a page anywhere in it, the rate of puts against a store of a
 * thousand in the same Redis, and what an object's metadata take in Redis.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "@spear/shared/config.ts";
import { silentLog } from "@spear/shared/log.ts";
import { storeConfig } from "@spear/store/config.ts";
import { start, type RunningStore } from "@spear/store/store.ts";
import { Redis } from "ioredis";
import { startRedis } from "../tests/redis.ts";
import { type How, type Measure, median, quantile } from "./measure.ts";

const bucket = "many";
const few = 1_000;
const writers = 256;
const pages = 50;
const pageBudgetMs = 10;
const objectBudgetBytes = 600;
const never = new AbortController().signal;

const keyOf = (serial: number) => `data/2026/part-${String(serial).padStart(9, "0")}.bin`;

/** Puts objects from `first` on; how many a second. */
async function fill(store: RunningStore, first: number, count: number): Promise<number> {
  let next = first;
  const startMs = performance.now();
  const writer = async () => {
    while (next < first + count) {
      const key = keyOf(next++);
      const body = async function* () {
        yield Buffer.from(key);
      };
      await store.objects.put({ bucket, key, sizeBytes: key.length }, body(), never);
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  return count / ((performance.now() - startMs) / 1_000);
}

async function startStore(redisUrl: string, namespace: string, dataDir: string) {
  const flags = {
    redisUrl,
    namespace,
    dataDir,
    httpListen: "127.0.0.1:0",
    grpcListen: "127.0.0.1:0",
    collectMs: 86_400_000,
    logLevel: "silent",
  };
  const config = loadConfig("store", storeConfig, { flags, environment: {} });
  const store = await start(config, { log: silentLog });
  await store.buckets.create(bucket, false);
  return store;
}

async function usedBytes(redis: Redis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await redis.info("memory"))?.[1]);
}

export async function run({ short, objects = short ? 10_000 : 100_000 }: How): Promise<Measure[]> {
  await using resources = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "spear-bench-"));
  resources.defer(() => rm(directory, { recursive: true, force: true }));
  const server = resources.use(await startRedis());
  const redis = resources.adopt(new Redis(server.url), (one) => one.disconnect());
  const small = resources.use(await startStore(server.url, "few", join(directory, "few")));
  const large = resources.use(await startStore(server.url, "many", join(directory, "many")));
  await fill(small, 0, few);
  const before = await usedBytes(redis);
  await fill(large, 0, objects);
  const each = ((await usedBytes(redis)) - before) / objects;

  const latencies: number[] = [];
  for (let page = 0; page < pages; page++) {
    const startAfter = keyOf(Math.floor((objects - few) * Math.random()));
    const startMs = performance.now();
    const { objects: found } = await large.objects.list({ bucket, startAfter, pageSize: 1_000 });
    latencies.push(performance.now() - startMs);
    if (found.length !== 1_000) throw new Error("a page is not full");
  }
  // The names are overwritten, so that a store of a thousand stays one.
  const rates: [number, number][] = [];
  for (let round = 0; round < (short ? 2 : 7); round++) {
    const [first, second] = round % 2 === 0 ? ([small, large] as const) : ([large, small] as const);
    const one = await fill(first, 0, few);
    const other = await fill(second, 0, few);
    rates.push(round % 2 === 0 ? [other, one] : [one, other]);
  }
  return [
    {
      name: `page of 1,000 anywhere in ${objects} objects`,
      unit: "ms",
      ours: median(latencies),
      baseline: pageBudgetMs,
      baselineName: "budget",
      ratio: median(latencies) / pageBudgetMs,
      p50Ms: median(latencies),
      p99Ms: quantile(latencies, 0.99),
    },
    {
      name: `puts into ${objects} objects`,
      unit: "/s",
      ours: median(rates.map(([many]) => many)),
      baseline: median(rates.map(([, thousand]) => thousand)),
      baselineName: `into ${few}`,
      ratio: median(rates.map(([many, thousand]) => many / thousand)),
    },
    {
      name: "metadata of an object in Redis",
      unit: "bytes",
      ours: each,
      baseline: objectBudgetBytes,
      baselineName: "budget",
      ratio: each / objectBudgetBytes,
    },
  ];
}
