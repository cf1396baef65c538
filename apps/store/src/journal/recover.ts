/**
 * Bringing Redis and the journal together when the store starts: what Redis has
 * lost is replayed, what the journal lacks is in Redis's stream and the pump
 * moves it. `rebuild` does the first from nothing.
 */
import { Fault } from "@spear/shared/fault.ts";
import type { Log } from "@spear/shared/log.ts";
import type { StoreScripts } from "../objects/scripts.ts";
import { takeCheckpoint } from "./checkpoint.ts";
import type { Journal } from "./journal.ts";
import { replay } from "./replay.ts";

/** Errors: `unavailable` if Redis has none of the metadata that the journal knows. */
export async function recover(
  scripts: StoreScripts,
  journal: Journal,
  nowMs: number,
  log: Log,
): Promise<void> {
  const { redis, keys } = scripts;
  const known = Number((await scripts.call(redis.get(keys.generation))) ?? 0);
  if (known === 0 && journal.last > 0) {
    throw new Fault("unavailable", "Redis has none of this store's metadata", {
      help: "check redisUrl and namespace; if Redis was lost, run: spear store rebuild",
    });
  }
  const waiting = await scripts.call(redis.xrangeBuffer(keys.events, "-", "+"));
  const events = new Map(
    waiting.map(([id, fields]) => [
      Number(id.toString().split("-")[0]),
      fields[1] ?? Buffer.alloc(0),
    ]),
  );
  const [first] = events.keys();
  const base = await journal.base();
  const from = Math.min(known, (await divergence(journal, base, events)) - 1);
  if (from < journal.last) {
    // Before a checkpoint there are no single changes left to replay.
    const anew = from < base;
    if (anew) await wipe(scripts);
    const replayed = await replayAll(scripts, journal, anew ? 0 : from);
    await scripts.call(redis.set(keys.generation, Math.max(known, journal.last)));
    log.warn({ replayed, from, anew }, "changes that Redis had lost were replayed");
  } else if (known > journal.last && first !== journal.last + 1) {
    // The journal was lost, or is older than Redis: it begins anew with all there is.
    log.warn({ known, journal: journal.last }, "the journal has a gap; taking a checkpoint");
    await takeCheckpoint(scripts, journal, nowMs);
  }
}

async function replayAll(scripts: StoreScripts, journal: Journal, after: number): Promise<number> {
  let replayed = 0;
  for await (const record of journal.read(after)) {
    await replay(scripts, record);
    replayed++;
  }
  return replayed;
}

/** Keys that hold no metadata of objects. */
const stay: ReadonlySet<string> = new Set(["fences", "accessKeys", "alive", "holds"]);

/** Removes all metadata; the epoch, the fences and the access keys stay. */
async function wipe(scripts: StoreScripts): Promise<void> {
  const { redis, keys } = scripts;
  const buckets = await scripts.call(redis.hkeys(keys.buckets));
  const all = Object.entries(keys).flatMap(([name, key]) =>
    typeof key === "string" && !stay.has(name) ? [key] : [],
  );
  await scripts.call(redis.del(...all, ...buckets.map(keys.names)));
}

/** The first generation behind `base` of which Redis and the journal tell different things. */
async function divergence(
  journal: Journal,
  base: number,
  events: ReadonlyMap<number, Buffer>,
): Promise<number> {
  const [first] = events.keys();
  if (first === undefined || first > journal.last) return Number.MAX_SAFE_INTEGER;
  for await (const { generation, packed } of journal.read(Math.max(first - 1, base))) {
    const event = events.get(generation);
    if (event === undefined) break;
    if (!packed.equals(event)) return generation;
  }
  return Number.MAX_SAFE_INTEGER;
}

/**
 * Makes the metadata from the journal, into a Redis that has none.
 * Errors: `conflict` if it has some, `object_corrupted` if the journal is damaged.
 * Returns how many records were replayed.
 */
export async function rebuild(scripts: StoreScripts, journal: Journal): Promise<number> {
  const { redis, keys } = scripts;
  if ((await scripts.call(redis.exists(keys.generation, keys.objects))) > 0) {
    throw new Fault("conflict", "Redis has metadata of this store already", {
      help: "start the Store; to rebuild it, remove its keys from Redis first",
    });
  }
  await journal.checkWhole();
  const replayed = await replayAll(scripts, journal, 0);
  await scripts.call(redis.set(keys.generation, journal.last));
  return replayed;
}
