/** What is done to a store that does not run: rebuild, check and mend. */
import { resolve } from "node:path";
import type { Log } from "@spear/shared/log.ts";
import { connectRedis, redisFault } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { StoreConfig } from "../config.ts";
import { beginEpoch } from "../epoch.ts";
import { Journal } from "../journal/journal.ts";
import { rebuild } from "../journal/recover.ts";
import { storeKeys, StoreScripts } from "../objects/scripts.ts";

/** Opens a store's metadata; a Store that still runs on it can change nothing any more. */
async function takeOver(config: StoreConfig, log: Log) {
  const dataDir = resolve(config.dataDir);
  const redis = connectRedis(config.redisUrl, "commands", log);
  try {
    await redis.ping();
  } catch (error) {
    redis.disconnect();
    throw redisFault(error);
  }
  const keys = storeKeys(new Keys(config.namespace));
  return { dataDir, redis, keys };
}

/**
 * Makes the metadata again from the journal on the store's disk, after Redis
 * was lost. Returns how many records were replayed. Errors: `conflict` if Redis
 * has metadata of this store, `unavailable`.
 */
export async function rebuildStore(config: StoreConfig, log: Log): Promise<number> {
  const { dataDir, redis, keys } = await takeOver(config, log);
  try {
    const epoch = await beginEpoch(redis, keys, dataDir);
    await using journal = await Journal.open(dataDir, config.journalBytes);
    return await rebuild(new StoreScripts(redis, keys, epoch), journal);
  } finally {
    redis.disconnect();
  }
}
