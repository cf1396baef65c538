/** Composition of the Object Store: what it is made of, in the order in which data flows. */
import { resolve } from "node:path";
import { mkdir } from "node:fs/promises";
import { systemClock, type Clock } from "@spear/shared/clock.ts";
import { startGrpc } from "@spear/shared/grpc/server.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import { systemIds, type IdSource } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import { Metrics } from "@spear/shared/metrics.ts";
import type { Started } from "@spear/shared/program.ts";
import { connectRedis, redactUrl, redisFault } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { AccessKeys } from "./access/keys.ts";
import { Vault } from "./access/vault.ts";
import { Buckets } from "./buckets/buckets.ts";
import { registerMetrics } from "./buckets/metrics.ts";
import { Expiry } from "./buckets/expiry.ts";
import { Chunks } from "./chunks/chunks.ts";
import { Hashing } from "./chunks/hashing.ts";
import { openBackend } from "./chunks/backend.ts";
import { Space } from "./chunks/space.ts";
import type { StoreConfig } from "./config.ts";
import { beginEpoch } from "./epoch.ts";
import { maxBodyBytes, restFace, storeApp, version } from "./app.ts";
import { listenHttp } from "./http/listener.ts";
import { takeCheckpoint } from "./journal/checkpoint.ts";
import { Journal } from "./journal/journal.ts";
import { Pump } from "./journal/pump.ts";
import { recover } from "./journal/recover.ts";
import { Collector } from "./lifecycle/collector.ts";
import { Compactor } from "./lifecycle/compactor.ts";
import { isHeld } from "./lifecycle/hold.ts";
import { Lifecycle } from "./lifecycle/lifecycle.ts";
import { Locks } from "./lifecycle/lock.ts";
import { Presence } from "./lifecycle/presence.ts";
import { objectStoreService } from "./objects/grpc.ts";
import { Objects } from "./objects/objects.ts";
import { Readers } from "./objects/readers.ts";
import { ObjectIndex } from "./objects/redis.ts";
import { storeKeys, StoreScripts } from "./objects/scripts.ts";
import { isS3, s3Face } from "./s3/http.ts";
import { Uploads } from "./uploads/uploads.ts";

/** A checkpoint is taken when the journal has grown to this many files. */
const checkpointFiles = 4;

export interface StoreDeps {
  log: Log;
  clock?: Clock;
  ids?: IdSource;
}

export interface RunningStore extends Started {
  readonly objects: Objects;
  readonly buckets: Buckets;
  readonly lifecycle: Lifecycle;
  readonly uploads: Uploads;
  readonly accessKeys: AccessKeys;
  readonly collector: Collector;
  readonly compactor: Compactor;
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
  const space = new Space(dataDir, config.reserveBytes);
  const hashing = stack.use(new Hashing());
  const keys = storeKeys(new Keys(config.namespace));
  const epoch = await beginEpoch(redis, keys, dataDir);
  const scripts = new StoreScripts(redis, keys, epoch);
  const { blobs, segments } = stack.use(await openBackend(config, dataDir, space, scripts, true));
  const journal = stack.use(await Journal.open(dataDir, config.journalBytes));
  await recover(scripts, journal, clock.nowMs(), log);
  const pump = stack.use(new Pump(scripts, journal, log));
  if (config.durable === "strict") scripts.reached = (generation) => pump.reached(generation);
  const readers = new Readers();
  const buckets = new Buckets(scripts, clock);
  const index = new ObjectIndex(scripts);
  const objects = new Objects({
    index,
    chunks: new Chunks(blobs, segments, hashing, config.bufferBytes, log),
    buckets,
    clock,
    ids,
    readers,
    maxObjectBytes: config.maxObjectBytes,
  });
  const { graceMs } = config;
  const lifecycle = new Lifecycle(scripts, objects, clock, graceMs);
  const lockRedis = connectRedis(config.redisUrl, "commands", log);
  stack.defer(() => lockRedis.disconnect());
  const locks = new Locks(lockRedis, keys, epoch);
  const collector = new Collector({ scripts, blobs, locks, readers, clock, graceMs, log });
  const expiry = new Expiry({ scripts, index, clock, log });
  const compactor = new Compactor({ scripts, segments, locks, clock, log });
  const uploads = new Uploads({
    scripts,
    index,
    objects,
    buckets,
    locks,
    clock,
    ids,
    expireMs: config.uploadExpireMs,
  });
  await uploads.prepare();
  const accessKeys = new AccessKeys(scripts, await Vault.open(dataDir), clock);
  const redisReady = async () => (await redis.ping().catch(() => undefined)) === "PONG";
  const metrics = new Metrics("store", version);
  registerMetrics(metrics, buckets, dataDir);
  const app = storeApp({
    objects,
    buckets,
    lifecycle,
    uploads,
    accessKeys,
    log,
    metrics,
    ready: async () => ({
      redis: (await redisReady()) || `Redis at ${redactUrl(config.redisUrl)} does not answer`,
    }),
  });
  const rest = restFace(app, log);
  const s3 = s3Face({
    objects,
    buckets,
    uploads,
    accessKeys,
    clock,
    log,
    metrics,
    domain: config.s3Domain,
    corsOrigins: config.s3CorsOrigins,
  });
  const http = stack.use(
    await listenHttp((head) => (isS3(head, config.s3Domain) ? s3 : rest), config.httpListen, {
      log,
      maxBodyBytes,
      idleTimeoutMs: config.idleTimeoutMs,
    }),
  );
  const grpc = stack.use(
    await startGrpc(config.grpcListen, [objectStoreService({ objects, buckets, lifecycle, log })], {
      ready: redisReady,
      log,
    }),
  );
  stack.use(new Presence(scripts, http.address, log));
  stack.use(
    new Loop("collect", config.collectMs, log, async (signal) => {
      await uploads.sweep();
      await expiry.run(signal);
      await collector.run(signal);
      await compactor.run(signal);
      if ((await journal.tailBytes()) <= config.journalBytes * checkpointFiles) return;
      await locks.hold("collect", async () => {
        if (!(await isHeld(scripts, clock))) await takeCheckpoint(scripts, journal, clock.nowMs());
      });
    }),
  );
  log.info({ http: http.address, grpc: grpc.address, dataDir }, "the store is ready");
  const resources = stack.move();
  return {
    http: http.address,
    grpc: grpc.address,
    objects,
    buckets,
    lifecycle,
    uploads,
    accessKeys,
    collector,
    compactor,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
