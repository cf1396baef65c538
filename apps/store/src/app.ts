/** All routes of the store, below SPEAR's error handling. */
import type { AnyElysia } from "elysia";
import { Fault } from "@spear/shared/fault.ts";
import { problemResponse } from "@spear/shared/http/problem.ts";
import { createHttp } from "@spear/shared/http/server.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Metrics } from "@spear/shared/metrics.ts";
import { accessKeyRoutes } from "./access/http.ts";
import type { AccessKeys } from "./access/keys.ts";
import type { Buckets } from "./buckets/buckets.ts";
import { bucketRoutes } from "./buckets/http.ts";
import type { Face } from "./http/listener.ts";
import { objectRoutes, streamsObject } from "./objects/http.ts";
import { lifecycleRoutes } from "./lifecycle/http.ts";
import type { Lifecycle } from "./lifecycle/lifecycle.ts";
import type { Objects } from "./objects/objects.ts";
import { streamsPart, uploadRoutes } from "./uploads/http.ts";
import type { Uploads } from "./uploads/uploads.ts";

export const version = "0.1.0";

/** Largest body of a request that is no object's bytes. */
export const maxBodyBytes = 1 << 20;

export interface StoreServices {
  objects: Objects;
  buckets: Buckets;
  lifecycle: Lifecycle;
  uploads: Uploads;
  accessKeys: AccessKeys;
  log: Log;
  metrics: Metrics;
  ready: () => Promise<Record<string, true | string>>;
}

export function storeApp({
  objects,
  buckets,
  lifecycle,
  uploads,
  accessKeys,
  log,
  metrics,
  ready,
}: StoreServices): AnyElysia {
  return createHttp(
    {
      title: "SPEAR Object Store",
      description: "Buckets of objects. Bytes go in and out as streams and are verified.",
      version,
      log,
      maxBodyBytes,
      // The listener has bounded what is not a stream.
      streams: () => true,
      ready,
      metrics,
    },
    [
      bucketRoutes(buckets),
      objectRoutes(objects, log),
      lifecycleRoutes(lifecycle),
      uploadRoutes(uploads),
      accessKeyRoutes(accessKeys),
    ],
  );
}

/** The REST face: the routes, and problem documents for what fails before them. */
export function restFace(app: AnyElysia, log: Log): Face {
  return {
    streams: ({ method, path }) => streamsObject(method, path) || streamsPart(method, path),
    handle: (request) => app.handle(request),
    failure: (error) => problemResponse(Fault.from(error), log),
  };
}
