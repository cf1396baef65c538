/**
 * Backup of a store that may be at work. A cut is the metadata as it is read, and
 * behind it every change made until it was read whole: together the store as it
 * was at one point, after the backup began. Chunks are copied once; those that
 * the place has already are not copied again. While it runs nothing is collected
 * (O3), so what the cut names is there to be copied.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { systemClock } from "@spear/shared/clock.ts";
import type { Log } from "@spear/shared/log.ts";
import { Fault } from "@spear/shared/fault.ts";
import { blobName, hashBytes, locationBytes, placeInSegment, type Chunk } from "../chunks/chunk.ts";
import type { StoreConfig } from "../config.ts";
import { metadataOf } from "../journal/checkpoint.ts";
import { recordOf, type JournalRecord } from "../journal/file.ts";
import { Hold } from "../lifecycle/hold.ts";
import { openParts, type StoreParts } from "../lifecycle/maintenance.ts";
import { decodeRecord } from "../objects/record.ts";
import { Copier, type Copied } from "./copier.ts";
import { recordsOfCut, writeCut } from "./cuts.ts";
import { openPlace, type BackupPlace } from "./place.ts";
import { changesBetween, relocated } from "./records.ts";

/** All zero: a chunk's blob in a backup has one name, whoever puts it there. */
const blobLocation = Buffer.alloc(locationBytes);

export interface BackupReport extends Copied {
  /** The cut that was made. */
  cut: string;
  /** The last change that it has. */
  generation: number;
  objects: number;
}

/**
 * Takes a backup to a directory or `s3://bucket/prefix`. `onProgress` hears of
 * bytes that were copied. Errors: `invalid_argument`, `unavailable`,
 * `store_full`, `conflict` if the store could not be held all the while.
 */
export async function backupStore(
  config: StoreConfig,
  to: string,
  signal: AbortSignal,
  log: Log,
  onProgress: (copied: Copied) => void = () => undefined,
): Promise<BackupReport> {
  await using parts = await openParts(config, false, log);
  const { redis, keys } = parts.scripts;
  if ((await parts.scripts.call(redis.exists(keys.generation))) === 0) {
    throw new Fault("not_found", "Redis has no store under this namespace", {
      help: "check redisUrl and namespace",
    });
  }
  await using place = await openPlace(config, to);
  await using hold = await Hold.take(parts.scripts, systemClock, log);
  const work = await mkdtemp(join(tmpdir(), "spear-backup-"));
  try {
    const copier = new Copier({
      read: (chunk, target) => readChunk(parts, chunk, target),
      target: place,
      known: await knownChunks(place, join(work, "last")),
      newLocation: () => blobLocation,
      signal,
    });
    const path = join(work, "cut");
    let generation = 0;
    let objects = 0;
    async function* records(): AsyncGenerator<JournalRecord> {
      const metadata = await metadataOf(parts.scripts, systemClock.nowMs());
      for await (const entry of metadata.entries) yield recordOf(entry.generation, entry.packed);
      const cut = await parts.scripts.call(
        redis.multi().get(keys.generation).hlen(keys.objects).exec(),
      );
      generation = Number(cut?.[0]?.[1] ?? 0);
      objects = Number(cut?.[1]?.[1] ?? 0);
      const dataDir = resolve(config.dataDir);
      yield* changesBetween(parts.scripts, dataDir, metadata.generation, generation);
    }
    async function* counted(): AsyncGenerator<JournalRecord> {
      for await (const record of relocated(records(), copier, signal)) {
        onProgress(copier.copied);
        yield record;
      }
    }
    await writeCut(path, () => generation, counted());
    hold.check();
    const cut = `${new Date().toISOString().replaceAll(/[-:]/g, "")}-${String(generation).padStart(12, "0")}`;
    await place.cuts.save(cut, path);
    return { cut, generation, objects, ...copier.copied };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** What a place has: its blobs by name, and what its latest cut says of small chunks. */
async function knownChunks(place: BackupPlace, path: string): Promise<Map<string, string>> {
  const known = new Map<string, string>();
  const blob = blobLocation.toString("latin1");
  for await (const { name } of place.blobs.list()) {
    const hash = Buffer.from(name.slice(0, hashBytes * 2), "hex");
    if (name === blobName(hash, blobLocation)) known.set(hash.toString("latin1"), blob);
  }
  const latest = (await place.cuts.list()).at(-1);
  if (latest === undefined) return known;
  await place.cuts.load(latest, path);
  for await (const { fields } of recordsOfCut(path)) {
    const object = fields.get("record");
    if (object === undefined) continue;
    const locations = fields.get("locations") ?? Buffer.alloc(0);
    for (const [index, { hash }] of decodeRecord(object).chunks.entries()) {
      const location = locations.subarray(index * locationBytes, (index + 1) * locationBytes);
      if (placeInSegment(location) === undefined) continue;
      known.set(hash.toString("latin1"), location.toString("latin1"));
    }
  }
  return known;
}

/** Reads a chunk from where it lies now; compaction may move it in between. */
async function readChunk(
  { scripts, blobs, segments }: StoreParts,
  chunk: Chunk,
  target: Buffer,
): Promise<number | undefined> {
  for (let attempt = 1; ; attempt++) {
    const entry = await scripts.call(scripts.redis.hgetBuffer(scripts.keys.chunks, chunk.hash));
    const location = entry?.subarray(4);
    if (location === undefined) return undefined;
    const filled =
      placeInSegment(location) === undefined
        ? await blobs.read(blobName(chunk.hash, location), target)
        : await segments.read(location, target);
    if (filled !== undefined || attempt === 2) return filled;
  }
}

/** Cuts of a backup, the oldest first. Errors: `invalid_argument`, `unavailable`. */
export async function listCuts(config: StoreConfig, at: string): Promise<string[]> {
  await using place = await openPlace(config, at);
  return await place.cuts.list();
}
