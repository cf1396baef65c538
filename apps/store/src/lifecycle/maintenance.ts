/**
 * What is done to a store from outside: rebuild and fsck for one that does not
 * run, scrub beside one that may.
 */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { systemClock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { Log } from "@spear/shared/log.ts";
import { connectRedis, redisFault } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { Blobs } from "../chunks/blobs.ts";
import { Chunks } from "../chunks/chunks.ts";
import { Hashing } from "../chunks/hashing.ts";
import { openBackend } from "../chunks/backend.ts";
import type { Segments } from "../chunks/segments.ts";
import { Space } from "../chunks/space.ts";
import type { StoreConfig } from "../config.ts";
import { beginEpoch, epochFile } from "../epoch.ts";
import { takeCheckpoint } from "../journal/checkpoint.ts";
import { Journal } from "../journal/journal.ts";
import { rebuild, recover } from "../journal/recover.ts";
import { storeKeys, StoreScripts } from "../objects/scripts.ts";
import { Fsck, type FsckReport } from "./fsck.ts";
import { noStoreRuns } from "./presence.ts";
import { scrub, type ScrubReport } from "./scrub.ts";

/** A store's parts without its services. */
export interface StoreParts extends AsyncDisposable {
  readonly dataDir: string;
  readonly scripts: StoreScripts;
  readonly blobs: Blobs;
  readonly segments: Segments;
}

/**
 * Opens a store's parts. What takes over changes something, and wants no Store to
 * run. Errors: `conflict` if one does, `unavailable`.
 */
export async function openParts(
  config: StoreConfig,
  takesOver: boolean,
  log: Log,
): Promise<StoreParts> {
  await using stack = new AsyncDisposableStack();
  const dataDir = resolve(config.dataDir);
  const redis = connectRedis(config.redisUrl, "commands", log);
  stack.defer(() => redis.disconnect());
  await redis.ping().catch((error: unknown) => {
    throw redisFault(error);
  });
  const keys = storeKeys(new Keys(config.namespace));
  const space = new Space(dataDir, 0);
  if (takesOver) {
    await mkdir(dataDir, { recursive: true });
    await noStoreRuns(new StoreScripts(redis, keys, 0));
  } else if (!existsSync(join(dataDir, epochFile))) {
    throw new Fault("not_found", `there are no data of a store in ${dataDir}`, {
      help: "run it where the Store runs, with the Store's configuration",
    });
  }
  // A Store that runs all the same can change nothing any more.
  const epoch = takesOver ? await beginEpoch(redis, keys, dataDir) : 0;
  const scripts = new StoreScripts(redis, keys, epoch);
  const { blobs, segments } = stack.use(
    await openBackend(config, dataDir, space, scripts, takesOver),
  );
  const resources = stack.move();
  return {
    dataDir,
    scripts,
    blobs,
    segments,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/**
 * Makes the metadata again from the journal on the store's disk, after Redis
 * was lost. Returns how many records were replayed. Errors: `conflict` if Redis
 * has metadata of this store, `unavailable`.
 */
export async function rebuildStore(config: StoreConfig, log: Log): Promise<number> {
  await using parts = await openParts(config, true, log);
  await using journal = await Journal.open(parts.dataDir, config.journalBytes);
  return await rebuild(parts.scripts, journal);
}

/**
 * Checks a store that does not run, and with `mend` puts right what can be.
 * `onProgress` hears what it is at. Errors: `conflict` if a Store runs, `unavailable`.
 */
export async function fsckStore(
  config: StoreConfig,
  mend: boolean,
  log: Log,
  onProgress: (what: string) => void = () => undefined,
): Promise<FsckReport> {
  await using parts = await openParts(config, true, log);
  await using journal = await Journal.open(parts.dataDir, config.journalBytes);
  const nowMs = systemClock.nowMs();
  await recover(parts.scripts, journal, nowMs, log);
  const report = await new Fsck({ ...parts, mend, nowMs, onProgress }).run();
  // What was mended is no change that the journal has seen: it begins anew.
  if (report.findings.some(({ mended }) => mended)) {
    await takeCheckpoint(parts.scripts, journal, nowMs);
  }
  return report;
}

/**
 * Reads and verifies every chunk, at most `bytesPerSecond`. The store may run.
 * Errors: `unavailable`.
 */
export async function scrubStore(
  config: StoreConfig,
  bytesPerSecond: number,
  signal: AbortSignal,
  log: Log,
  onProgress?: (chunks: number, bytes: number) => void,
): Promise<ScrubReport> {
  await using parts = await openParts(config, false, log);
  using hashing = new Hashing();
  const chunks = new Chunks(parts.blobs, parts.segments, hashing, config.bufferBytes, log);
  return await scrub(parts.scripts, chunks, { bytesPerSecond, onProgress }, signal);
}
