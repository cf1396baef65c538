/**
 * A checkpoint: the whole metadata as records of the journal, so that what
 * stands before it can go. It is taken while the store works. What changes
 * meanwhile may be in it or not: the journal repeats those changes behind it,
 * and a change replayed onto its own outcome changes nothing more.
 */
import type { StoreScripts } from "../objects/scripts.ts";
import { ObjectIndex } from "../objects/redis.ts";
import { bucketOfEntry } from "../buckets/buckets.ts";
import { nameOfMember } from "../objects/member.ts";
import { decodeRecord } from "../objects/record.ts";
import { packFields } from "./file.ts";
import type { Journal, JournalEntry } from "./journal.ts";

const page = 500;
const idBytes = 16;
const pinnedFlag = 1;
const flagsAt = 4;

function entry(generation: number, fields: Record<string, string | number | Buffer>): JournalEntry {
  return { generation, packed: packFields(fields) };
}

/** The whole metadata as it stands; later changes may be in it, as far as they go. */
interface Metadata {
  /** All changes up to this one are in it. */
  readonly generation: number;
  readonly entries: AsyncGenerator<JournalEntry>;
}

/** Takes a checkpoint of the store as it stands. */
export async function takeCheckpoint(
  scripts: StoreScripts,
  journal: Journal,
  nowMs: number,
): Promise<void> {
  const { generation, entries } = await metadataOf(scripts, nowMs);
  // Behind a checkpoint the journal has every record.
  await scripts.reached(generation);
  await journal.checkpoint(generation, entries);
}

/** Reads the metadata of a store that may be at work. */
export async function metadataOf(scripts: StoreScripts, nowMs: number): Promise<Metadata> {
  const { redis, keys } = scripts;
  // Buckets are exact at this generation, so that no change behind it lacks its bucket.
  const answers = await scripts.call(
    redis.multi().get(keys.generation).hgetall(keys.buckets).exec(),
  );
  const generation = Number(answers?.[0]?.[1] ?? 0);
  const buckets = (answers?.[1]?.[1] ?? {}) as Record<string, string>;
  return { generation, entries: entriesOf(scripts, generation, buckets, nowMs) };
}

async function* entriesOf(
  scripts: StoreScripts,
  generation: number,
  buckets: Record<string, string>,
  nowMs: number,
): AsyncGenerator<JournalEntry> {
  for (const [bucket, text] of Object.entries(buckets)) {
    const { createdAtMs, rules } = bucketOfEntry(text);
    yield entry(generation, { op: "bucket", bucket, now: createdAtMs });
    if (rules !== "") yield entry(generation, { op: "rules", bucket, rules });
  }
  yield* objects(scripts, generation, nowMs);
  for (const bucket of Object.keys(buckets)) yield* names(scripts, bucket, nowMs);
  yield* references(scripts, generation, nowMs);
}

async function* objects(scripts: StoreScripts, generation: number, now: number) {
  const { redis, keys } = scripts;
  const index = new ObjectIndex(scripts);
  let cursor = "0";
  do {
    const [next, flat] = await scripts.call(redis.hscanBuffer(keys.objects, cursor, "COUNT", page));
    for (let at = 0; at + 1 < flat.length; at += 2) {
      const [id, record] = [flat[at], flat[at + 1]] as [Buffer, Buffer];
      const { chunks } = decodeRecord(record);
      const locations = chunks.length === 0 ? [] : await index.locate(chunks);
      // One that was collected meanwhile has lost its chunks; the journal knows.
      if (locations.some((location) => location === undefined)) continue;
      yield entry(generation, {
        op: "restore",
        id,
        record,
        locations: Buffer.concat(locations as Buffer[]),
        now,
      });
      if (((record[flagsAt] ?? 0) & pinnedFlag) !== 0) {
        yield entry(generation, { op: "pin", id, now, holder: "", ends: 0 });
      }
    }
    cursor = next.toString();
  } while (cursor !== "0");
}

async function* names(scripts: StoreScripts, bucket: string, now: number) {
  const { redis, keys } = scripts;
  let start = "-";
  for (;;) {
    const members = await scripts.call(
      redis.zrangeBuffer(keys.names(bucket), start, "+", "BYLEX", "LIMIT", 0, page),
    );
    for (const member of members) {
      const { key, id: source, generation } = nameOfMember(member);
      yield entry(generation, { op: "copy", bucket, key, source, now });
    }
    const last = members.at(-1);
    if (last === undefined || members.length < page) return;
    start = `[${nameOfMember(last).key}\u0001`;
  }
}

async function* references(scripts: StoreScripts, generation: number, now: number) {
  const { redis, keys } = scripts;
  let cursor = "0";
  do {
    const [next, flat] = await scripts.call(redis.zscanBuffer(keys.refs, cursor, "COUNT", page));
    for (let at = 0; at < flat.length; at += 2) {
      const member = flat[at] as Buffer;
      const ends = (await scripts.call(redis.zscore(keys.expiries, member))) ?? "0";
      yield entry(generation, {
        op: "ref",
        id: member.subarray(0, idBytes),
        now,
        holder: member.subarray(idBytes),
        ends,
      });
    }
    cursor = next.toString();
  } while (cursor !== "0");
}
