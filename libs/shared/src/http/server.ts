/** HTTP servers: Elysia with SPEAR's errors, limits, metrics, OpenAPI document and its UI. */
import { Type } from "@sinclair/typebox";
import { Elysia, type AnyElysia } from "elysia";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { docsPage } from "./docs.ts";
import { openApiOf } from "./openapi.ts";
import { httpFault, problemResponse } from "./problem.ts";

export interface HttpOptions {
  title: string;
  description: string;
  version: string;
  log: Log;
  /** Largest body of a request that is parsed, in bytes. */
  maxBodyBytes: number;
  /** Paths that stream their body and have limits of their own. */
  streams?: (path: string) => boolean;
  /** Part → true, or what is wrong with it; `/readyz` is 503 unless all are true. */
  ready: () => Promise<Record<string, true | string>>;
  metrics: Metrics;
}

const readiness = Type.Object({
  ready: Type.Boolean(),
  parts: Type.Record(Type.String(), Type.Union([Type.Literal(true), Type.String()]), {
    description: "Part → true, or what is wrong with it.",
  }),
});

/** The routes of a program below SPEAR's error handling, with health and documentation. */
export function createHttp(options: HttpOptions, routes: AnyElysia[]): AnyElysia {
  const { log, metrics, title, description, version } = options;
  const license = { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0" };
  const began = new WeakMap<Request, number>();
  const answered = (request: Request, route: string | undefined, status: number) => {
    const start = began.get(request);
    if (start === undefined) return;
    metrics.onRequest(request.method, route ?? "", status, (performance.now() - start) / 1000);
  };
  const app: AnyElysia = new Elysia({ normalize: false, strictPath: true })
    .onError((failed) => {
      const response = problemResponse(httpFault(failed.code, failed.error, failed, app), log);
      answered(failed.request, failed.route, response.status);
      return response;
    })
    .onAfterHandle(({ request, route, responseValue, set }) => {
      const given = responseValue instanceof Response ? responseValue.status : set.status;
      answered(request, route, Number(given ?? 200));
    })
    .onRequest(({ request }) => {
      began.set(request, performance.now());
      const given = request.headers.get("content-length");
      const length = Number(given ?? 0);
      // Where some bodies have no limit, those of all others must say how long they are.
      const bounded = given !== null || options.streams === undefined || request.body === null;
      if (bounded && length <= options.maxBodyBytes) return;
      if (options.streams?.(new URL(request.url).pathname) === true) return;
      if (!bounded) {
        throw new Fault("invalid_argument", "content-length: is missing", {
          field: "content-length",
        });
      }
      throw new Fault("payload_too_large", `the body has ${length} bytes`, {
        field: "body",
        help: `at most ${options.maxBodyBytes} bytes are accepted`,
      });
    })
    .get("/healthz", () => ({ status: "ok" as const }), {
      response: Type.Object({ status: Type.Literal("ok") }),
      detail: { operationId: "getHealth", summary: "The process is alive.", tags: ["operations"] },
    })
    .get(
      "/readyz",
      async ({ set }) => {
        const parts = await options.ready();
        const ready = Object.values(parts).every((part) => part === true);
        if (!ready) set.status = 503;
        return { ready, parts };
      },
      {
        response: { 200: readiness, 503: readiness },
        detail: {
          operationId: "getReadiness",
          summary: "Every part that is needed answers; 503 if not.",
          tags: ["operations"],
        },
      },
    )
    .get(
      "/metrics",
      async () =>
        new Response(await metrics.text(), { headers: { "content-type": metrics.contentType } }),
      {
        response: Type.String({ description: "Metrics in Prometheus' text format." }),
        detail: {
          operationId: "getMetrics",
          summary: "Metrics, for Prometheus to scrape.",
          tags: ["operations"],
        },
      },
    )
    .get("/openapi.json", () => openApiOf(app, { title, description, version, license }), {
      detail: { hide: true },
    })
    .use(docsPage());
  for (const route of routes) app.use(route);
  return app;
}

export interface RunningHttp extends AsyncDisposable {
  /** Where it listens, as `127.0.0.1:7700`. */
  readonly address: string;
}

/** Starts listening on `host:port`; port 0 picks one. `maxRequestBytes` bounds streamed bodies too. */
export function startHttp(app: AnyElysia, listen: string, maxRequestBytes: number): RunningHttp {
  const at = listen.lastIndexOf(":");
  const hostname = listen.slice(0, at);
  try {
    app.listen({
      hostname,
      port: Number(listen.slice(at + 1)),
      maxRequestBodySize: maxRequestBytes,
      idleTimeout: 60,
    });
  } catch (error) {
    throw new Fault("unavailable", `can't listen on ${listen}: ${(error as Error).message}`, {
      help: "choose another address with --listen, or port 0 for any free one",
      cause: error,
    });
  }
  const port = app.server?.port;
  return {
    address: `${hostname}:${port}`,
    [Symbol.asyncDispose]: async () => {
      await app.stop(true);
    },
  };
}
