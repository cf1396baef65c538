/** What Redis loses, the journal brings back (O1). */
import { expect, test } from "bun:test";
import { appendFile, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { Fault } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";
import { start, type RunningStore } from "../store.ts";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";
import { rebuildStore } from "../lifecycle/maintenance.ts";
import { packFields } from "./file.ts";
import { Journal, type JournalEntry } from "./journal.ts";

const never = new AbortController().signal;

async function* bodyOf(text: string) {
  yield Buffer.from(text);
}

/** A few of everything, from a seed. */
async function work(store: RunningStore, seed: number, steps: number): Promise<void> {
  let state = seed;
  const pick = (below: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
  const { objects, lifecycle } = store;
  for (const bucket of ["red", "green", "blue"])
    await store.buckets.create(`${bucket}-bucket`, true);
  const name = () => ({
    bucket: `${["red", "green", "blue"][pick(3)]}-bucket`,
    key: `key-${pick(12)}`,
  });
  for (let step = 0; step < steps; step++) {
    const target = name();
    const present = await objects.head(target).catch(() => undefined);
    switch (pick(8)) {
      case 0:
        await objects.delete(target);
        break;
      case 1:
        if (present !== undefined) await objects.copy({ source: present.id, ...name() });
        break;
      case 2:
        if (present !== undefined) {
          await objects.copy({
            source: target,
            ...name(),
            replace: { metadata: { step: `${step}` } },
          });
        }
        break;
      case 3:
        if (present !== undefined)
          await lifecycle.addRef(present.id, `holder/${pick(3)}`, pick(2) * 9e9);
        break;
      case 4:
        if (present !== undefined) await lifecycle.pin(present.id);
        break;
      case 5:
        if (present !== undefined) {
          await lifecycle.unpin(present.id);
          await lifecycle.removeRef(present.id, `holder/${pick(3)}`);
        }
        break;
      case 6:
        await objects.put(target, bodyOf(`${pick(5)}`.repeat(70_000)), never);
        break;
      default:
        await objects.put(target, bodyOf(`small ${seed} ${step}`), never);
    }
    if (step % 16 === 0) await store.collector.run(never);
  }
}

/** Everything that can be seen of a store. */
async function seen(store: RunningStore): Promise<unknown> {
  const all = [];
  for (const { name: bucket } of await store.buckets.list()) {
    for (const object of (await store.objects.list({ bucket })).objects) {
      let bytes = 0;
      const { body } = await store.objects.open(object.id, never);
      for await (const piece of body) bytes += piece.length;
      expect(bytes).toBe(object.sizeBytes);
      const why = await store.lifecycle.why(object.id);
      all.push({
        object,
        pinned: why.pinned,
        refs: why.refs,
        names: why.names.map((one) => `${one.bucket}/${one.key}`).toSorted(),
      });
    }
  }
  return all;
}

/** Every key of a namespace with its value. */
async function snapshot(redis: Redis, namespace: string): Promise<[string, Buffer][]> {
  const keys = await redis.keys(`{${namespace}}*`);
  return Promise.all(
    keys.map(async (key): Promise<[string, Buffer]> => [key, await redis.dumpBuffer(key)]),
  );
}

async function goBackTo(redis: Redis, namespace: string, values: [string, Buffer][]) {
  const keys = await redis.keys(`{${namespace}}*`);
  if (keys.length > 0) await redis.del(keys);
  for (const [key, value] of values) await redis.restore(key, 0, value);
}

async function restarted(running: TestStore): Promise<RunningStore> {
  return start(running.config, { log: silentLog });
}

test.each([
  ["before any checkpoint", 1 << 20, 3_600_000],
  ["to before the latest checkpoint", 1 << 12, 20],
])("a Redis that went back %s is brought forward again", async (_, journalBytes, collectMs) => {
  await using running = await startTestStore({ graceMs: 0, collectMs, journalBytes });
  const { namespace, redisUrl } = running.config;
  const redis = new Redis(redisUrl);
  try {
    await work(running.store, 1, 60);
    const old = await snapshot(redis, namespace);
    await work(running.store, 2, 60);
    const expected = await seen(running.store);
    await running.store[Symbol.asyncDispose]();
    await goBackTo(redis, namespace, old);
    await using back = await restarted(running);
    expect(await seen(back)).toEqual(expected);
  } finally {
    redis.disconnect();
  }
});

test.each([
  ["the journal alone", 1 << 20],
  // Every few records a new file, so that checkpoints are taken on the way.
  ["a checkpoint and the journal behind it", 1 << 12],
])("a lost Redis is rebuilt from %s", async (_, journalBytes) => {
  await using running = await startTestStore({ graceMs: 0, collectMs: 20, journalBytes });
  const { namespace, redisUrl } = running.config;
  const redis = new Redis(redisUrl);
  try {
    for (const seed of [3, 4, 5]) await work(running.store, seed, 60);
    const expected = await seen(running.store);
    await running.store[Symbol.asyncDispose]();
    await goBackTo(redis, namespace, []);
    const refused = await restarted(running).catch((error: unknown) => Fault.from(error));
    expect(refused).toMatchObject({ code: "unavailable" });
    expect(await rebuildStore(running.config, silentLog)).toBeGreaterThan(0);
    await using back = await restarted(running);
    expect(await seen(back)).toEqual(expected);
    expect(
      Fault.from(await rebuildStore(running.config, silentLog).catch((e: unknown) => e)).code,
    ).toBe("conflict");
  } finally {
    redis.disconnect();
  }
});

const entryOf = (generation: number): JournalEntry => ({
  generation,
  packed: packFields({ op: `number ${generation}` }),
});

test("a record that was cut off or damaged ends the journal before it", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "spear-journal-"));
  try {
    const journal = await Journal.open(dataDir, 1 << 20);
    await journal.append([1, 2, 3].map(entryOf));
    await journal[Symbol.asyncDispose]();
    const [file = ""] = await readdir(join(dataDir, "journal"));
    await appendFile(join(dataDir, "journal", file), Buffer.alloc(11, 1));
    await using again = await Journal.open(dataDir, 1 << 20);
    expect(again.last).toBe(3);
    await again.append([entryOf(4)]);
    const read = [];
    for await (const { generation } of again.read(1)) read.push(generation);
    expect(read).toEqual([2, 3, 4]);
  } finally {
    await rm(dataDir, { recursive: true });
  }
});
