/** The cluster's Redis as hostcalls use it, once the node knows where it is. */
import { Fault } from "@spear/shared/fault.ts";
import type { Log } from "@spear/shared/log.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { Redis } from "ioredis";

export class ClusterRedis implements Disposable {
  readonly #log: Log;
  #url = "";
  #connected: { redis: Redis; keys: Keys } | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Connects, in place of what was connected before if it has moved. */
  connect({ redisUrl, queuePrefix }: { redisUrl: string; queuePrefix: string }): void {
    if (redisUrl === this.#url) return;
    this.#connected?.redis.disconnect();
    this.#url = redisUrl;
    this.#connected = {
      redis: connectRedis(redisUrl, "commands", this.#log),
      keys: Keys.ofQueuePrefix(queuePrefix),
    };
  }

  /** Throws `unavailable` before the node has registered. */
  get(): { redis: Redis; keys: Keys } {
    if (this.#connected !== undefined) return this.#connected;
    throw new Fault("unavailable", "the node has not found its cluster yet");
  }

  [Symbol.dispose](): void {
    this.#connected?.redis.disconnect();
  }
}
