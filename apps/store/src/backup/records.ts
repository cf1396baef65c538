/** Records of a journal on their way to other backends: their chunks go along. */
import { Fault } from "@spear/shared/fault.ts";
import { systemClock } from "@spear/shared/clock.ts";
import { packFields, recordOf, type JournalRecord } from "../journal/file.ts";
import { Journal } from "../journal/journal.ts";
import { decodeRecord } from "../objects/record.ts";
import type { StoreScripts } from "../objects/scripts.ts";
import type { Copier } from "./copier.ts";

/** Records whose chunks are copied at the same time. */
const window = 256;
const page = 512;
const lookMs = 50;
/** The Store moves changes to its journal within this, in looks. */
const looks = 400;

/**
 * The records with their chunks where `copier` has put them. What says only that
 * a chunk was moved is left out: it means places that are no more.
 */
export async function* relocated(
  records: AsyncIterable<JournalRecord>,
  copier: Copier,
  signal: AbortSignal,
): AsyncGenerator<JournalRecord> {
  let batch: JournalRecord[] = [];
  for await (const record of records) {
    signal.throwIfAborted();
    if (String(record.fields.get("op")) === "move") continue;
    batch.push(record);
    if (batch.length < window) continue;
    yield* await Promise.all(batch.map((one) => relocate(one, copier)));
    batch = [];
  }
  yield* await Promise.all(batch.map((one) => relocate(one, copier)));
}

async function relocate(record: JournalRecord, copier: Copier): Promise<JournalRecord> {
  const object = record.fields.get("record");
  if (object === undefined) return record;
  const locations = await copier.copyAll(decodeRecord(object).chunks);
  const fields = Object.fromEntries(record.fields);
  return recordOf(record.generation, packFields({ ...fields, locations }));
}

/**
 * The changes behind `after` up to `last`, in order, of a store that may be at
 * work: from Redis, and from the journal what has left Redis for it.
 * Errors: `unavailable` if one is in neither.
 */
export async function* changesBetween(
  scripts: StoreScripts,
  dataDir: string,
  after: number,
  last: number,
): AsyncGenerator<JournalRecord> {
  const { redis, keys } = scripts;
  let reached = after;
  for (let left = looks; reached < last; left--) {
    const events = await scripts.call(
      redis.xrangeBuffer(keys.events, `${reached + 1}`, `${last}`, "COUNT", page),
    );
    const before = reached;
    for (const [id, [, packed]] of events) {
      const generation = Number(id.toString().split("-")[0]);
      if (generation !== reached + 1 || packed === undefined) break;
      yield recordOf(generation, packed);
      reached = generation;
    }
    if (reached > before) continue;
    for await (const record of Journal.reader(dataDir).read(reached)) {
      if (record.generation > last) break;
      yield record;
      reached = record.generation;
    }
    if (reached > before) continue;
    if (left === 0) {
      throw new Fault(
        "unavailable",
        `the change ${reached + 1} is neither in Redis nor the journal`,
        {
          help: "check that dataDir is the Store's",
        },
      );
    }
    await systemClock.wait(lookMs);
  }
}
