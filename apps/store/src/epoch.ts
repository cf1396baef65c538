/**
 * The epoch: a number that grows with every start of a store on its data. It is
 * kept on the disk as well as in Redis, so that it never goes back with either.
 */
import type { Redis } from "ioredis";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { redisFault } from "@spear/shared/redis/client.ts";
import { replaceFile } from "./chunks/disk.ts";
import type { StoreKeys } from "./objects/scripts.ts";

/** File of it, in a store's directory from its first start on. */
export const epochFile = "epoch";

/** Begins the next epoch; whatever an earlier one still tries is refused from now on. */
export async function beginEpoch(redis: Redis, keys: StoreKeys, dataDir: string): Promise<number> {
  const file = join(dataDir, epochFile);
  const onDisk = Number(await readFile(file, "utf8").catch(() => "0"));
  const inRedis = Number(
    await redis.hget(keys.fences, "epoch").catch((error: unknown) => {
      throw redisFault(error);
    }),
  );
  const epoch = Math.max(onDisk, inRedis) + 1;
  await replaceFile(file, `${epoch}\n`);
  await redis.hset(keys.fences, "epoch", epoch).catch((error: unknown) => {
    throw redisFault(error);
  });
  return epoch;
}
