/**
 * Restore: chunks go from a backup to the configured backend, the cut becomes the
 * journal's checkpoint, and the metadata are made from that. What was interrupted
 * has left nothing in Redis and can be begun again.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import type { Log } from "@spear/shared/log.ts";
import { blobName, locationBytes, newBlobLocation, placeInSegment } from "../chunks/chunk.ts";
import type { StoreConfig } from "../config.ts";
import type { JournalRecord } from "../journal/file.ts";
import { Journal } from "../journal/journal.ts";
import { rebuild } from "../journal/recover.ts";
import { openParts } from "../lifecycle/maintenance.ts";
import { decodeRecord } from "../objects/record.ts";
import { Copier, type Copied } from "./copier.ts";
import { generationOfCut, recordsOfCut } from "./cuts.ts";
import { openPlace } from "./place.ts";
import { relocated } from "./records.ts";

export interface RestoreReport extends Copied {
  cut: string;
  generation: number;
  objects: number;
}

/**
 * Restores a cut, the latest by default, into a store that has nothing yet.
 * Errors: `not_found` if there is no such cut, `conflict` if the store has
 * something or runs, `checksum_mismatch`, `store_full`, `unavailable`.
 */
export async function restoreStore(
  config: StoreConfig,
  from: string,
  wanted: string | undefined,
  signal: AbortSignal,
  log: Log,
  onProgress: (copied: Copied) => void = () => undefined,
): Promise<RestoreReport> {
  await using place = await openPlace(config, from);
  const cut = wanted ?? (await place.cuts.list()).at(-1);
  if (cut === undefined) throw new Fault("not_found", `there is no cut in ${from}`);
  await using parts = await openParts(config, true, log);
  await using journal = await Journal.open(parts.dataDir, config.journalBytes);
  const { redis, keys } = parts.scripts;
  if (
    journal.last > 0 ||
    (await parts.scripts.call(redis.exists(keys.generation, keys.objects))) > 0
  ) {
    throw new Fault("conflict", "this store has something already", {
      help: "restore into an empty dataDir and a namespace that Redis does not know",
    });
  }
  const work = await mkdtemp(join(tmpdir(), "spear-restore-"));
  try {
    const path = join(work, "cut");
    await place.cuts.load(cut, path);
    const generation = await generationOfCut(path);
    /** Where chunks of the records at hand lie in the backup. */
    const sources = new Map<string, Buffer>();
    const copier = new Copier({
      read: (chunk, target) => {
        const location = sources.get(chunk.hash.toString("latin1"));
        if (location === undefined) return Promise.resolve(undefined);
        return placeInSegment(location) === undefined
          ? place.blobs.read(blobName(chunk.hash, location), target)
          : place.segments.read(location, target);
      },
      target: parts,
      known: new Map(),
      newLocation: newBlobLocation,
      signal,
    });
    async function* records(): AsyncGenerator<JournalRecord> {
      for await (const record of recordsOfCut(path)) {
        const object = record.fields.get("record");
        const locations = record.fields.get("locations") ?? Buffer.alloc(0);
        const chunks = object === undefined ? [] : decodeRecord(object).chunks;
        for (const [index, { hash }] of chunks.entries()) {
          const at = index * locationBytes;
          sources.set(hash.toString("latin1"), locations.subarray(at, at + locationBytes));
        }
        yield record;
      }
    }
    async function* entries() {
      for await (const record of relocated(records(), copier, signal)) {
        onProgress(copier.copied);
        yield record;
      }
    }
    await journal.checkpoint(generation, entries());
    await rebuild(parts.scripts, journal);
    const objects = await parts.scripts.call(redis.hlen(keys.objects));
    return { cut, generation, objects, ...copier.copied };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
