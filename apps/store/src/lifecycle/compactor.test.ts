/** Segments of small objects: group commit, compaction, and what survives both. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@spear/shared/clock.ts";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";

let nowMs = 1_000_000;
const clock: Clock = { nowMs: () => nowMs, wait: () => Promise.resolve() };
const never = new AbortController().signal;

let running: TestStore;
beforeAll(async () => {
  running = await startTestStore(
    { graceMs: 0, collectMs: 3_600_000, segmentBytes: 32 << 10 },
    { clock },
  );
  await running.store.buckets.create("bucket", false);
});
afterAll(() => running[Symbol.asyncDispose]());

const textOf = (key: string) => `${key} `.repeat(300);

function put(key: string) {
  const body = async function* () {
    yield Buffer.from(textOf(key));
  };
  return running.store.objects.put({ bucket: "bucket", key }, body(), never);
}

async function read(key: string): Promise<string> {
  let text = "";
  const { body } = await running.store.objects.open({ bucket: "bucket", key }, never);
  for await (const piece of body) text += piece.toString();
  return text;
}

const segments = () => readdir(join(running.config.dataDir, "segments"));

test("small objects share segments, which shrink again when most of them are gone", async () => {
  const keys = Array.from({ length: 200 }, (_, index) => `key-${index}`);
  await Promise.all(keys.map(put));
  const grown = (await segments()).length;
  expect(grown).toBeGreaterThan(10);
  expect(grown).toBeLessThan(100);
  const [kept, gone] = [keys.filter((_, i) => i % 8 === 0), keys.filter((_, i) => i % 8 !== 0)];
  await Promise.all(gone.map((key) => running.store.objects.delete({ bucket: "bucket", key })));
  expect(await running.store.collector.run(never)).toBe(gone.length);
  expect(await running.store.compactor.run(never)).toBe(0);
  for (const key of kept) expect(await read(key)).toBe(textOf(key));
  await running.store.compactor.run(never);
  nowMs += 60_000;
  expect(await running.store.compactor.run(never)).toBeGreaterThan(5);
  expect((await segments()).length).toBeLessThan(grown / 2);
  for (const key of kept) expect(await read(key)).toBe(textOf(key));
});

test("what is put and deleted while segments are compacted stays right", async () => {
  const keys = Array.from({ length: 60 }, (_, index) => `busy-${index}`);
  await Promise.all(keys.map(put));
  const churn = async () => {
    for (const [index, key] of keys.entries()) {
      if (index % 3 === 0) continue;
      await running.store.objects.delete({ bucket: "bucket", key });
      await running.store.collector.run(never);
      if (index % 3 === 1) await put(key);
    }
  };
  const compact = async () => {
    for (let round = 0; round < 20; round++) {
      nowMs += 31_000;
      await running.store.compactor.run(never);
    }
  };
  await Promise.all([churn(), compact()]);
  for (const [index, key] of keys.entries()) {
    if (index % 3 !== 2) expect(await read(key)).toBe(textOf(key));
  }
});
