/**
 * Hostcalls of processes and containers: HTTP with JSON over a Unix socket in
 * their work directory. `POST /v1/NAME` takes the parameters as a JSON body; where
 * the call's bytes are the body, they stand in `?params=`. A result that comes with
 * bytes is in the header `x-spear-result`, percent-encoded. The token is that
 * attempt's only (S1).
 */
import { timingSafeEqual } from "node:crypto";
import { chmod, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { Fault } from "@spear/shared/fault.ts";
import { hostcalls, isHostcall, type HostcallName } from "@spear/shared/hostcalls.ts";
import type { Log } from "@spear/shared/log.ts";
import { collect, piecesOf } from "./body.ts";
import type { Answer, HostSession } from "./host.ts";

const maxParamsBytes = 4 * 1024 * 1024;
/** What an address of a Unix socket can hold, less the NUL at its end. */
const longestPath = 107;

/** Serves a session at `path` until disposed. Throws `unavailable` if that can't be. */
export async function serveHost(
  session: HostSession,
  path: string,
  token: string,
  log: Log,
): Promise<AsyncDisposable> {
  if (Buffer.byteLength(path) > longestPath) {
    throw new Fault("unavailable", `${path} is too long for a socket`, {
      help: "give the node a shorter data directory",
    });
  }
  const server = createServer((request, response) => {
    void answer(session, token, request, response).catch((error: unknown) => {
      const fault = Fault.from(error);
      if (fault.code === "internal") log.error({ err: fault.cause ?? fault }, "hostcall failed");
      refuse(response, fault);
    });
  });
  server.requestTimeout = 0;
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  // Who may go into the directory may connect; the token says who may ask.
  await chmod(path, 0o666);
  return {
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  session: HostSession,
  token: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  authenticate(request, token);
  const { name, query } = route(request);
  const gone = new AbortController();
  response.once("close", () => gone.abort(new Fault("cancelled", "the caller went away")));
  const { bytes } = hostcalls[name] as { bytes?: "in" | "out" | "both" };
  const takesBytes = bytes === "in" || bytes === "both";
  const params = takesBytes
    ? parse(query.get("params") ?? "{}", "params")
    : parse(Buffer.from(await collect(request, maxParamsBytes, "the body")).toString(), "body");
  const given = await (takesBytes
    ? session.call(name, params, request, gone.signal)
    : session.call(name, params, undefined, gone.signal));
  await give(response, given, bytes === "out" || bytes === "both");
}

function authenticate({ headers }: IncomingMessage, token: string): void {
  const given = Buffer.from(/^Bearer (\S+)$/.exec(headers.authorization ?? "")?.[1] ?? "");
  const right = Buffer.from(token);
  if (given.length === right.length && timingSafeEqual(given, right)) return;
  throw new Fault("unauthenticated", "the token is not this attempt's", {
    help: "send authorization: Bearer and the value of SPEAR_HOST_TOKEN",
  });
}

function route({ method, url = "" }: IncomingMessage): {
  name: HostcallName;
  query: URLSearchParams;
} {
  const { pathname, searchParams } = new URL(url, "http://host");
  const name = pathname.slice("/v1/".length);
  if (!pathname.startsWith("/v1/") || !isHostcall(name)) {
    throw new Fault("not_found", `there is no hostcall at ${pathname}`, {
      help: `known: ${Object.keys(hostcalls).join(", ")}`,
    });
  }
  if (method !== "POST") throw new Fault("method_not_allowed", "hostcalls are made with POST");
  return { name, query: searchParams };
}

function parse(text: string, field: string): unknown {
  try {
    return JSON.parse(text === "" ? "{}" : text);
  } catch {
    throw new Fault("invalid_argument", `${field}: is not JSON`, { field });
  }
}

async function give(
  response: ServerResponse,
  { result, body }: Answer,
  hasBytes: boolean,
): Promise<void> {
  if (!hasBytes) {
    const text = JSON.stringify(result);
    response.writeHead(200, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(text),
    });
    response.end(text);
    return;
  }
  const headers: Record<string, string | number> = {
    "content-type": "application/octet-stream",
    "x-spear-result": encodeURIComponent(JSON.stringify(result)),
  };
  if (body instanceof Uint8Array) headers["content-length"] = body.length;
  response.writeHead(200, headers);
  if (body === undefined || body instanceof Uint8Array) response.end(body);
  else await pipeline(piecesOf(body), response);
}

function refuse(response: ServerResponse, fault: Fault): void {
  // Half an answer must not pass for a whole one.
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const problem = fault.toProblem();
  const text = JSON.stringify(problem);
  response.writeHead(problem.status, {
    "content-type": "application/problem+json",
    "content-length": Buffer.byteLength(text),
    // The rest of the request's body is not wanted.
    connection: "close",
  });
  response.end(text);
}
