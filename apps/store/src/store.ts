/** Composition of the Object Store: what it is made of, in the order in which data flows. */
import { resolve } from "node:path";
import { mkdir } from "node:fs/promises";
import { systemClock, type Clock } from "@spear/shared/clock.ts";
import { startGrpc } from "@spear/shared/grpc/server.ts";
import { systemIds, type IdSource } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Started } from "@spear/shared/program.ts";
import { connectRedis, redactUrl, redisFault } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { Buckets } from "./buckets/buckets.ts";
import { Chunks } from "./chunks/chunks.ts";
import { DiskBlobs } from "./chunks/disk.ts";
import type { StoreConfig } from "./config.ts";
import { maxBodyBytes, storeApp } from "./app.ts";
import { listenHttp } from "./http/listener.ts";
import { objectStoreService } from "./objects/grpc.ts";
import { streamsObject } from "./objects/http.ts";
import { Objects } from "./objects/objects.ts";
import { ObjectIndex, storeKeys } from "./objects/redis.ts";

export interface StoreDeps {
  log: Log;
  clock?: Clock;
  ids?: IdSource;
}

export interface RunningStore extends Started {
  readonly objects: Objects;
  readonly buckets: Buckets;
}

/** Starts a store. Errors: `unavailable` if Redis or an address can't be had. */
export async function start(config: StoreConfig, deps: StoreDeps): Promise<RunningStore> {
  const { log, clock = systemClock, ids = systemIds } = deps;
  await using stack = new AsyncDisposableStack();
  const redis = connectRedis(config.redisUrl, "commands", log);
  stack.defer(() => redis.disconnect());
  await redis.ping().catch((error: unknown) => {
    throw redisFault(error);
  });
  const dataDir = resolve(config.dataDir);
  await mkdir(dataDir, { recursive: true });
  const blobs = stack.use(await DiskBlobs.open(dataDir, config.reserveBytes));
  const keys = storeKeys(new Keys(config.namespace));
  const buckets = new Buckets(redis, keys, clock);
  const objects = new Objects({
    index: new ObjectIndex(redis, keys),
    chunks: new Chunks(blobs, config.bufferBytes, log),
    buckets,
    clock,
    ids,
    maxObjectBytes: config.maxObjectBytes,
  });
  const redisReady = async () => (await redis.ping().catch(() => undefined)) === "PONG";
  const app = storeApp({
    objects,
    buckets,
    log,
    ready: async () => ({
      redis: (await redisReady()) || `Redis at ${redactUrl(config.redisUrl)} does not answer`,
    }),
  });
  const http = stack.use(
    await listenHttp((request) => app.handle(request), config.httpListen, {
      log,
      streams: streamsObject,
      maxBodyBytes,
      idleTimeoutMs: config.idleTimeoutMs,
    }),
  );
  const grpc = stack.use(
    await startGrpc(config.grpcListen, [objectStoreService(objects, buckets, log)], {
      ready: redisReady,
      log,
    }),
  );
  log.info({ http: http.address, grpc: grpc.address, dataDir }, "the store is ready");
  const resources = stack.move();
  return {
    http: http.address,
    grpc: grpc.address,
    objects,
    buckets,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
