/** Connections to Redis, and its failures as faults. */
import { Redis, type RedisOptions } from "ioredis";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import { defineScripts } from "./script.ts";

/**
 * Connects to `redis://…`, `rediss://…` or `unix:///path`. `commands` fails a
 * command within seconds when Redis is away; `blocking` waits for ever, as
 * BullMQ's workers and stream readers want.
 */
export function connectRedis(url: string, kind: "commands" | "blocking", log: Log): Redis {
  const shared = {
    // BullMQ and our own reads expect the shapes of RESP2.
    protocol: 2,
    connectTimeout: 3_000,
    retryStrategy: (times) => Math.min(50 * times, 1_000),
    ...(kind === "blocking"
      ? { maxRetriesPerRequest: null }
      : { maxRetriesPerRequest: 2, commandTimeout: 4_000, enableAutoPipelining: true }),
  } satisfies Partial<RedisOptions>;
  const path = url.startsWith("unix://") ? url.slice("unix://".length) : undefined;
  const redis = path === undefined ? new Redis(url, shared) : new Redis({ ...shared, path });
  defineScripts(redis);
  let down = false;
  redis.on("error", (error: Error) => {
    if (!down) log.warn({ err: error, redis: redactUrl(url) }, "redis is away");
    down = true;
  });
  redis.on("ready", () => {
    if (down) log.info({ redis: redactUrl(url) }, "redis is back");
    down = false;
  });
  return redis;
}

/** A URL fit for logs and errors: without its password. */
export function redactUrl(url: string): string {
  return url.replace(/\/\/[^@/]*@/, "//***@");
}

const connectionTrouble =
  /ECONNREFUSED|ECONNRESET|EPIPE|ENOENT|ETIMEDOUT|Connection is closed|max retries per request|Command timed out|LOADING|Stream isn't writeable|MISCONF|READONLY|CLUSTERDOWN/i;

/** True if the error says that Redis can't be reached now. */
export function isRedisAway(error: unknown): boolean {
  return error instanceof Error && connectionTrouble.test(`${error.name} ${error.message}`);
}

/** An error of Redis as a fault: `unavailable` if it is away, else `internal`. */
export function redisFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  if (isRedisAway(error)) {
    return new Fault("unavailable", "Redis does not answer", {
      help: "check that redis-server runs and that its address is right, then try again",
      cause: error,
    });
  }
  return Fault.from(error);
}
