/** What an object costs in Redis. */
import { expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { systemIds } from "@spear/shared/ids.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { startRedis } from "../../../../tests/redis.ts";
import { segmentLocation } from "../chunks/chunk.ts";
import { attributesOf } from "./attributes.ts";
import { ObjectIndex } from "./redis.ts";
import { storeKeys, StoreScripts } from "./scripts.ts";

const objects = 5_000;
const mostBytes = 600;

const usedMemory = async (redis: Redis) =>
  Number(/used_memory:(\d+)/.exec(await redis.info("memory"))?.[1]);

test(`metadata takes less than ${mostBytes} bytes an object`, async () => {
  await using server = await startRedis();
  const redis = new Redis(server.url);
  try {
    const keys = storeKeys(new Keys("memory"));
    const scripts = new StoreScripts(redis, keys, 1);
    await redis.hset(keys.fences, "epoch", 1);
    await redis.hset(keys.buckets, "a-bucket-of-many", 1);
    const index = new ObjectIndex(scripts);
    const before = await usedMemory(redis);
    const put = (serial: number) => {
      const sha256 = createHash("sha256").update(`${serial}`).digest("hex");
      return index.commit(
        {
          bucket: "a-bucket-of-many",
          key: `corpus/2026/11/24/part-${String(serial).padStart(10, "0")}.txt`,
        },
        systemIds.next("obj"),
        {
          ...attributesOf({ contentType: "text/plain" }),
          sizeBytes: 4_096,
          sha256,
          etag: sha256,
        },
        [{ hash: randomBytes(32), bytes: 4_096, location: segmentLocation(1, serial * 5_000) }],
        {},
        1,
      );
    };
    for (let serial = 0; serial < objects; serial += 1_000) {
      await Promise.all(Array.from({ length: 1_000 }, (_, at) => put(serial + at)));
      // The journal does this in a store that runs.
      await redis.xtrim(keys.events, "MAXLEN", 0);
    }
    const each = ((await usedMemory(redis)) - before) / objects;
    expect(each).toBeGreaterThan(100);
    expect(each).toBeLessThan(mostBytes);
  } finally {
    redis.disconnect();
  }
});
