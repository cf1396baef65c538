/**
 * The concurrency suite: 64 clients on few keys put, overwrite and delete under
 * conditions, copy, read, hold, pin and let go, while collection and compaction run,
 * all from a seed. The journal says in which order the changes were made; a model
 * follows it, and what each client saw must be how the model stood at some moment
 * between the call and its answer (O2, O4). Nothing may be collected that the model
 * still keeps (O3), and what is kept at the end is whole. `SPEAR_SEEDS` says how many.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { Fault } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";
import type { ObjectId } from "@spear/shared/ids.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { fsckStore } from "@spear/store/lifecycle/maintenance.ts";
import type { WriteCondition } from "@spear/store/objects/schema.ts";
import { storeKeys } from "@spear/store/objects/scripts.ts";
import { startTestStore, type TestStore } from "../store.ts";
import { Random } from "./random.ts";
import { eventsBehind, follow, type Version } from "./store-order.ts";

const seeds = Number(process.env["SPEAR_SEEDS"] ?? 4);
const clients = 64;
const steps = 6;
const timeoutMs = 5_000 + seeds * 15_000;
/** Most of what happens is about the first. */
const keys = ["one", "one", "one", "two"];
const never = new AbortController().signal;

let running: TestStore;
let redis: ReturnType<typeof connectRedis>;
let generationKey = "";
beforeAll(async () => {
  running = await startTestStore({
    graceMs: 0,
    collectMs: 3_600_000,
    segmentBytes: 16 << 10,
    journalBytes: 1 << 20,
  });
  redis = connectRedis(running.config.redisUrl, "commands", silentLog);
  generationKey = storeKeys(new Keys(running.config.namespace)).generation;
});
afterAll(async () => {
  redis.disconnect();
  await running.store[Symbol.asyncDispose]();
  expect((await fsckStore(running.config, false, silentLog)).findings).toEqual([]);
  await running[Symbol.asyncDispose]();
});

/** A call with the generations before and behind it. */
interface Call {
  key: string;
  after: number;
  until: number;
  /** True if the answer is right for how the name stood. */
  fits: (version: Version) => boolean;
  /** The generation of the change, if it was made: it was judged by what stood before it. */
  change: number | undefined;
  what: string;
}

const now = async () => Number((await redis.get(generationKey)) ?? 0);
const generationOf = (version: Version) => (version.id === undefined ? 0 : version.from);
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

/** What every client of a seed did and saw. */
class World {
  readonly calls: Call[] = [];
  readonly textOf = new Map<ObjectId, string>();
  /** Calls on an id that was not there any more, with the latest generation that explains it. */
  readonly missed: { id: ObjectId; until: number }[] = [];
  readonly bucket: string;

  constructor(bucket: string) {
    this.bucket = bucket;
  }

  /** Makes a call and notes what its answer says of the name. */
  async call(
    what: string,
    key: string,
    make: () => Promise<{ fits: Call["fits"]; change?: number }>,
    refused: Partial<Record<string, Call["fits"]>>,
  ): Promise<void> {
    const after = await now();
    const answer = await make().catch((error: unknown) => {
      const fits = refused[Fault.from(error).code];
      if (fits === undefined) throw error;
      return { fits };
    });
    const change = "change" in answer ? answer.change : undefined;
    this.calls.push({ what, key, after, until: await now(), fits: answer.fits, change });
  }

  async read(target: ObjectId | { bucket: string; key: string }) {
    const { object, body } = await running.store.objects.open(target, never);
    let text = "";
    for await (const piece of body) text += piece.toString();
    return { object, text };
  }

  put(key: string, text: string, condition: WriteCondition): Promise<void> {
    const { bucket } = this;
    const body = async function* () {
      yield Buffer.from(text);
    };
    const holds = (version: Version) => this.#holds(condition, version);
    return this.call(
      `put ${JSON.stringify(condition)}`,
      key,
      async () => {
        const object = await running.store.objects.put({ bucket, key, condition }, body(), never);
        this.textOf.set(object.id, text);
        return { fits: holds, change: object.generation };
      },
      { precondition_failed: (version) => !holds(version) },
    );
  }

  #holds({ ifMatch, ifAbsent, ifGeneration }: WriteCondition, version: Version): boolean {
    const text = version.id === undefined ? undefined : this.textOf.get(version.id);
    return (
      (ifAbsent !== true || version.id === undefined) &&
      (ifGeneration === undefined || ifGeneration === generationOf(version)) &&
      (ifMatch === undefined || (text !== undefined && sha256(text) === ifMatch))
    );
  }

  delete(key: string, condition: WriteCondition): Promise<void> {
    const { bucket } = this;
    return this.call(
      "delete",
      key,
      async () => {
        const deleted = await running.store.objects.delete({ bucket, key }, condition);
        return {
          fits: (version) =>
            deleted === (version.id !== undefined) && this.#holds(condition, version),
        };
      },
      { precondition_failed: (version) => !this.#holds(condition, version) },
    );
  }

  copy(key: string, to: string): Promise<void> {
    const { bucket } = this;
    let copied: ObjectId | undefined;
    return this.call(
      "copy",
      key,
      async () => {
        const source = { bucket, key };
        copied = (await running.store.objects.copy({ source, bucket, key: to })).id;
        return { fits: ({ id }) => id === copied };
      },
      { object_not_found: ({ id }) => id === undefined },
    );
  }

  async look(key: string): Promise<ObjectId | undefined> {
    let seen: ObjectId | undefined;
    const { bucket } = this;
    await this.call(
      "read",
      key,
      async () => {
        const { object, text } = await this.read({ bucket, key });
        seen = object.id;
        return {
          fits: (version) =>
            version.id === object.id &&
            version.from === object.generation &&
            this.textOf.get(object.id) === text,
        };
      },
      { object_not_found: ({ id }) => id === undefined },
    );
    return seen;
  }

  /** Does something with an object by its id, which may have gone. */
  async keep(id: ObjectId, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (Fault.from(error).code !== "object_not_found") throw error;
      this.missed.push({ id, until: await now() });
    }
  }
}

async function run(seed: number): Promise<void> {
  const { objects, lifecycle, collector, compactor, buckets } = running.store;
  const source = new Random(seed);
  const random = (below: number) => source.between(0, below - 1);
  const world = new World(`model-${seed}`);
  const { bucket } = world;
  const first = await now();
  await buckets.create(bucket, false);

  const client = async (number: number) => {
    const holder = `client/${number}`;
    let held: ObjectId | undefined;
    for (let step = 0; step < steps; step++) {
      const key = keys[random(keys.length)] as string;
      // Some share their bytes, some are larger than what a segment takes.
      const text =
        random(4) === 0
          ? "shared"
          : `${seed} ${number} ${step} `.repeat(random(40) === 0 ? 9_000 : 9);
      const what = random(16);
      if (what < 2) await world.put(key, text, {});
      else if (what < 6) {
        const seen = await objects.head({ bucket, key }).catch(() => undefined);
        const conditions: WriteCondition[] = [
          { ifGeneration: seen?.generation ?? 0 },
          seen === undefined ? { ifAbsent: true } : { ifMatch: seen.etag },
          { ifAbsent: true },
        ];
        const condition = conditions[random(3)] ?? {};
        if (what < 5) await world.put(key, text, condition);
        else await world.delete(key, condition);
      } else if (what === 6) await world.delete(key, {});
      else if (what === 7) await world.copy(key, keys[random(keys.length)] as string);
      else if (what === 8) await collector.run(never);
      else if (what === 9) await compactor.run(never);
      else if (what < 12) {
        const id = await world.look(key);
        if (id === undefined) continue;
        const pins = random(2) === 0;
        await world.keep(id, async () => {
          if (pins) await lifecycle.pin(id);
          else await lifecycle.addRef(id, holder, 0);
          held = pins ? held : id;
        });
      } else if (what === 12 && held !== undefined) {
        const id = held;
        held = undefined;
        await world.keep(id, () => lifecycle.removeRef(id, holder));
      } else if (what === 13) {
        const id = await world.look(key);
        if (id !== undefined) await world.keep(id, () => lifecycle.unpin(id));
      } else await world.look(key);
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
  await collector.run(never);

  const { histories, names, keepers, collected } = follow(
    await eventsBehind(running.config.dataDir, first),
    bucket,
  );
  for (const { key, after, until, fits, change, what } of world.calls) {
    const history = histories.get(key) ?? [{ from: 0, id: undefined }];
    const before = history.findLast(({ from }) => from <= after) as Version;
    const seen = [before, ...history.filter(({ from }) => from > after && from <= until)];
    const judged =
      change === undefined ? seen : [history.findLast(({ from }) => from < change) as Version];
    if (judged.some(fits) && (change === undefined || (change > after && change <= until)))
      continue;
    throw new Error(`${what} of ${key} in ${after}–${until} fits no moment`, { cause: judged });
  }
  for (const { id, until } of world.missed) {
    expect(collected.get(id) ?? Infinity).toBeLessThanOrEqual(until);
  }
  // What is kept is whole, however often it was collected around it; what is not has gone.
  for (const [id, text] of world.textOf) {
    const kept = (names.get(id) ?? 0) > 0 || (keepers.get(id)?.size ?? 0) > 0;
    if (kept) expect((await world.read(id)).text).toBe(text);
    expect(collected.has(id)).toBe(!kept);
  }
  const listed: unknown[] = (await objects.list({ bucket })).objects.map(({ key, id }) => [
    key,
    id,
  ]);
  const model: (readonly [string, ObjectId | undefined])[] = [...histories].map(
    ([key, history]) => [key, history.at(-1)?.id],
  );
  expect(listed).toEqual(model.filter(([, id]) => id !== undefined).toSorted());
}

test(
  `${seeds} seeds of ${clients} clients on few keys fit the model`,
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
