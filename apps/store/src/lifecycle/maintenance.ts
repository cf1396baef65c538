/**
 * What is done to a store from outside: rebuild and fsck for one that does not
 * run, scrub beside one that may.
 */
import { resolve } from "node:path";
import { systemClock } from "@spear/shared/clock.ts";
import type { Log } from "@spear/shared/log.ts";
import { connectRedis, redisFault } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { Chunks } from "../chunks/chunks.ts";
import { Hashing } from "../chunks/hashing.ts";
import { openBackend } from "../chunks/backend.ts";
import { Space } from "../chunks/space.ts";
import type { StoreConfig } from "../config.ts";
import { beginEpoch } from "../epoch.ts";
import { takeCheckpoint } from "../journal/checkpoint.ts";
import { Journal } from "../journal/journal.ts";
import { rebuild, recover } from "../journal/recover.ts";
import { storeKeys, StoreScripts } from "../objects/scripts.ts";
import { Fsck, type FsckReport } from "./fsck.ts";
import { scrub, type ScrubReport } from "./scrub.ts";

/** A store's parts without its services. */
async function openParts(config: StoreConfig, takesOver: boolean, log: Log) {
  await using stack = new AsyncDisposableStack();
  const dataDir = resolve(config.dataDir);
  const redis = connectRedis(config.redisUrl, "commands", log);
  stack.defer(() => redis.disconnect());
  await redis.ping().catch((error: unknown) => {
    throw redisFault(error);
  });
  const keys = storeKeys(new Keys(config.namespace));
  const space = new Space(dataDir, 0);
  // A Store that runs on the same data can change nothing any more once another has taken over.
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
 * Errors: `unavailable`.
 */
export async function fsckStore(config: StoreConfig, mend: boolean, log: Log): Promise<FsckReport> {
  await using parts = await openParts(config, true, log);
  await using journal = await Journal.open(parts.dataDir, config.journalBytes);
  const nowMs = systemClock.nowMs();
  await recover(parts.scripts, journal, nowMs, log);
  const report = await new Fsck({ ...parts, mend, nowMs }).run();
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
): Promise<ScrubReport> {
  await using parts = await openParts(config, false, log);
  using hashing = new Hashing();
  const chunks = new Chunks(parts.blobs, parts.segments, hashing, config.bufferBytes, log);
  return await scrub(parts.scripts, chunks, bytesPerSecond, signal);
}
