/**
 * The concurrency suite: clients that put, overwrite under conditions, copy,
 * delete, read, hold and collect at the same time, from a seed. What each of
 * them saw must fit one order of the changes, which is the order of the
 * generations (O2, O3, O4).
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Fault } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";
import type { ObjectId } from "@spear/shared/ids.ts";
import { fsckStore } from "@spear/store/lifecycle/maintenance.ts";
import { startTestStore, type TestStore } from "../store.ts";

const seeds = Number(process.env["SPEAR_SEEDS"] ?? 12);
const clients = 12;
const steps = 14;
const timeoutMs = 5_000 + seeds * 5_000;
const keys = ["a", "b", "c"];
const never = new AbortController().signal;

let running: TestStore;
beforeAll(async () => {
  running = await startTestStore({ graceMs: 0, collectMs: 3_600_000, segmentBytes: 16 << 10 });
});
afterAll(async () => {
  await running.store[Symbol.asyncDispose]();
  expect((await fsckStore(running.config, false, silentLog)).findings).toEqual([]);
  await running[Symbol.asyncDispose]();
});

/** mulberry32 */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** A change that was acknowledged, with when it was under way by the test's own count. */
interface Change {
  key: string;
  generation: number;
  /** Undefined for a copy, whose text is that of its source. */
  text: string | undefined;
  id: ObjectId;
  begun: number;
  ended: number;
  /** The generation that the name had to have; 0: none. */
  expected: number | undefined;
}

interface Observation {
  key: string;
  generation: number;
  text: string;
  begun: number;
  ended: number;
}

async function run(seed: number): Promise<void> {
  const { objects, lifecycle, collector, compactor, buckets } = running.store;
  const random = randomFrom(seed);
  const bucket = `model-${seed}`;
  await buckets.create(bucket, false);
  const changes: Change[] = [];
  const observations: Observation[] = [];
  const held: { id: ObjectId; text: string }[] = [];
  const textOf = new Map<ObjectId, string>();
  let time = 0;

  const put = async (key: string, text: string, ifGeneration: number | undefined) => {
    const begun = ++time;
    const body = async function* () {
      yield Buffer.from(text);
    };
    const object = await objects.put({ bucket, key, condition: { ifGeneration } }, body(), never);
    textOf.set(object.id, text);
    const { id, generation } = object;
    changes.push({ key, generation, text, id, begun, ended: ++time, expected: ifGeneration });
  };
  const read = async (key: string) => {
    const begun = ++time;
    const { object, body } = await objects.open({ bucket, key }, never);
    let text = "";
    for await (const piece of body) text += piece.toString();
    observations.push({ key, generation: object.generation, text, begun, ended: ++time });
    return object;
  };

  const client = async (number: number) => {
    for (let step = 0; step < steps; step++) {
      const key = keys[random(keys.length)] as string;
      const what = random(10);
      // Some share their bytes, some are larger than what a segment takes.
      const text =
        random(4) === 0
          ? "shared"
          : `${seed} ${number} ${step} `.repeat(random(20) === 0 ? 9_000 : 9);
      try {
        if (what < 3) await put(key, text, undefined);
        else if (what < 5) {
          const seen = await objects.head({ bucket, key }).catch(() => undefined);
          await put(key, text, seen?.generation ?? 0);
        } else if (what === 5) await objects.delete({ bucket, key });
        else if (what === 6) {
          const begun = ++time;
          const to = keys[random(keys.length)] as string;
          const copy = await objects.copy({ source: { bucket, key }, bucket, key: to });
          const { id, generation } = copy;
          changes.push({
            key: to,
            generation,
            text: undefined,
            id,
            begun,
            ended: ++time,
            expected: undefined,
          });
        } else if (what === 7) {
          const object = await read(key);
          await lifecycle.addRef(object.id, `client/${number}`, 0);
          held.push({
            id: object.id,
            text: observations.findLast((one) => one.generation === object.generation)?.text ?? "",
          });
        } else if (what === 8) {
          await collector.run(never);
          if (random(3) === 0) await compactor.run(never);
        } else await read(key);
      } catch (error) {
        expect(["object_not_found", "precondition_failed"]).toContain(Fault.from(error).code);
      }
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, number) => client(number)));

  // The generations are one order: no two alike, and none against the order in which things happened.
  const order = changes.toSorted((a, b) => a.generation - b.generation);
  expect(new Set(order.map(({ generation }) => generation)).size).toBe(order.length);
  for (const [index, change] of order.entries()) {
    expect(order.slice(0, index).filter(({ begun }) => begun > change.ended)).toEqual([]);
    // A condition held at its place in the order.
    if (change.expected !== undefined && change.expected > 0) {
      const before = order.slice(0, index).findLast(({ key }) => key === change.key);
      expect(before?.generation).toBe(change.expected);
    }
  }
  // A reader saw one whole version, and not one from the future or one long replaced.
  for (const seen of observations) {
    const source = order.find(
      ({ key, generation }) => key === seen.key && generation === seen.generation,
    );
    expect(source).toBeDefined();
    if (source === undefined) continue;
    expect(seen.text).toBe(textOf.get(source.id) ?? "");
    expect(source.begun).toBeLessThan(seen.ended);
    const replaced = order.find(
      ({ key, generation, ended }) =>
        key === seen.key && generation > seen.generation && ended < seen.begun,
    );
    expect(replaced).toBeUndefined();
  }
  // What is held is whole, however often it was collected around it.
  await collector.run(never);
  for (const { id, text } of held) {
    let whole = "";
    const { body } = await objects.open(id, never);
    for await (const piece of body) whole += piece.toString();
    expect(whole).toBe(text);
  }
  // What is listed is what the order ends with, or was deleted after.
  for (const { key, id } of (await objects.list({ bucket })).objects) {
    expect(order.findLast((change) => change.key === key)?.id).toBe(id);
  }
}

test(
  `${seeds} seeds of ${clients} clients at once fit the model`,
  async () => {
    for (let seed = 1; seed <= seeds; seed++) {
      try {
        await run(seed);
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
  },
  timeoutMs,
);

test(
  "64 writers on one key: each condition is met by one of them only",
  async () => {
    const { objects, buckets } = running.store;
    await buckets.create("writers", false);
    const wins: number[] = [];
    const writer = async (number: number) => {
      for (let round = 0; round < 4; round++) {
        const seen = await objects.head({ bucket: "writers", key: "one" }).catch(() => undefined);
        const ifGeneration = seen?.generation ?? 0;
        const body = async function* () {
          yield Buffer.from(`${number} ${round}`);
        };
        const put = objects.put(
          { bucket: "writers", key: "one", condition: { ifGeneration } },
          body(),
          never,
        );
        await put.then(
          () => wins.push(ifGeneration),
          (error: unknown) => expect(Fault.from(error).code).toBe("precondition_failed"),
        );
      }
    };
    await Promise.all(Array.from({ length: 64 }, (_, number) => writer(number)));
    expect(wins.length).toBeGreaterThan(3);
    expect(new Set(wins).size).toBe(wins.length);
  },
  timeoutMs,
);
