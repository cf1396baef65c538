/**
 * The store's HTTP listener. Node's server hands over a path as the client sent
 * it, where Bun's would resolve '..' first and so take one key for another;
 * it also keeps the Content-Length of a streamed answer. Several faces share it.
 *
 * Bodies move with backpressure in both directions, and a client that moves no
 * byte for a while is cut off.
 */
import { isUtf8 } from "node:buffer";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Fault } from "@spear/shared/fault.ts";
import type { RunningHttp } from "@spear/shared/http/server.ts";
import type { Log } from "@spear/shared/log.ts";
import { smallBytes, type Body } from "../chunks/chunks.ts";
import { giveAway } from "../chunks/pieces.ts";

/** How long an answered client may go on sending before it is cut off, in milliseconds. */
const lingerMs = 2_000;

/** What a request looked like on the wire. */
export interface RawRequest {
  /** Path as it was sent, without the query. */
  readonly path: string;
  readonly query: string;
  /** The body of a streaming route, to be read once. */
  readonly body: Body;
  /** Aborts when the client went away. */
  readonly signal: AbortSignal;
  /** What is sent behind the head of an answer that has no body of its own. */
  answer?: AsyncIterableIterator<Uint8Array>;
  /** Content-Length of the answer to a HEAD: Elysia takes that of a body, and there is none. */
  headBytes?: number;
}

const raws = new WeakMap<Request, RawRequest>();

/** The request as it was on the wire. */
export function rawOf(request: Request): RawRequest {
  const raw = raws.get(request);
  if (raw === undefined) throw new Error("the request did not come through the listener");
  return raw;
}

/**
 * An answer whose bytes go from `body` to the socket as they are, without a web
 * stream in between. `init` says how many there are. A piece may be used again
 * once the next was asked for.
 */
export function streamingAnswer(
  request: Request,
  body: AsyncIterableIterator<Uint8Array>,
  init: ResponseInit,
): Response {
  rawOf(request).answer = body;
  return new Response(null, init);
}

/** The head of a request, by which its face is known. */
export interface RequestHead {
  readonly method: string;
  /** As they were sent. */
  readonly path: string;
  readonly query: string;
  readonly headers: Headers;
}

/** A protocol that is spoken on the listener. */
export interface Face {
  /** True if the body goes to the handler as a stream. */
  streams(head: RequestHead): boolean;
  handle(request: Request): Promise<Response>;
  /** The answer to a request that failed before it was handled, or as it was. */
  failure(error: unknown): Response;
}

export interface ListenerOptions {
  log: Log;
  /** Largest body of a request that is not streamed, in bytes. */
  maxBodyBytes: number;
  idleTimeoutMs: number;
}

/** Starts listening on `host:port`; port 0 picks one. Errors: `unavailable`. */
export async function listenHttp(
  faceOf: (head: RequestHead) => Face,
  listen: string,
  options: ListenerOptions,
): Promise<RunningHttp> {
  const at = listen.lastIndexOf(":");
  const hostname = listen.slice(0, at);
  const server = createServer((incoming, outgoing) => {
    void serve(faceOf, incoming, outgoing, options).catch((error: unknown) => {
      options.log.debug({ err: error }, "a connection broke");
      // Destroyed before its head was sent, it would pass for an empty 200.
      if (outgoing.headersSent) outgoing.destroy();
      else outgoing.writeHead(500, { connection: "close" }).end();
    });
  });
  server.requestTimeout = 0;
  server.keepAliveTimeout = options.idleTimeoutMs;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(
        new Fault("unavailable", `can't listen on ${listen}: ${error.message}`, {
          help: "choose another address with --listen, or port 0 for any free one",
          cause: error,
        }),
      ),
    );
    server.listen(Number(listen.slice(at + 1)), hostname, resolve);
  });
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  return {
    address: `${hostname}:${port}`,
    [Symbol.asyncDispose]: () => close(server),
  };
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => server.closeAllConnections(), lingerMs);
    server.close(() => {
      clearTimeout(force);
      resolve();
    });
    server.closeIdleConnections();
  });
}

async function serve(
  faceOf: (head: RequestHead) => Face,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  options: ListenerOptions,
): Promise<void> {
  const gone = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) gone.abort(new Fault("cancelled", "the caller went away"));
  });
  // Failures of the body surface where it is read.
  incoming.on("error", () => undefined);
  const head = headOf(incoming);
  const face = faceOf(head);
  let response: Response;
  let raw: RawRequest | undefined;
  try {
    const request = await requestOf(incoming, head, face.streams(head), gone.signal, options);
    response = await face.handle(request);
    raw = rawOf(request);
  } catch (error) {
    response = face.failure(error);
  }
  try {
    if (gone.signal.aborted) await response.body?.cancel(gone.signal.reason);
    else await answer(response, raw, incoming, outgoing, gone.signal, options);
  } finally {
    await raw?.answer?.return?.();
  }
}

function headOf({ url = "/", method = "GET", rawHeaders }: IncomingMessage): RequestHead {
  const mark = url.indexOf("?");
  const headers = new Headers();
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    headers.append(rawHeaders[index] ?? "", rawHeaders[index + 1] ?? "");
  }
  return {
    method,
    path: mark < 0 ? url : url.slice(0, mark),
    query: mark < 0 ? "" : url.slice(mark + 1),
    headers,
  };
}

async function requestOf(
  incoming: IncomingMessage,
  { method, path, query, headers }: RequestHead,
  streamed: boolean,
  signal: AbortSignal,
  options: ListenerOptions,
): Promise<Request> {
  checkPath(path);
  const body = bodyOf(incoming, options.idleTimeoutMs);
  const bodiless = method === "GET" || method === "HEAD" || streamed;
  const url = `http://${headers.get("host") ?? "localhost"}${path}${query === "" ? "" : `?${query}`}`;
  const request = new Request(url, {
    method,
    headers,
    ...(bodiless ? {} : { body: await collect(body, options.maxBodyBytes) }),
  });
  raws.set(request, { path, query, body, signal });
  return request;
}

/**
 * Refuses a path that some software on the way would rewrite, so that one key
 * is never taken for another.
 */
function checkPath(path: string): void {
  const wrong = !path.startsWith("/")
    ? "the path must start with a slash"
    : /[^\x21-\x7e]|\\/.test(path)
      ? "the path must be percent-encoded"
      : path.split("/").some((part) => /^(?:\.|%2e){1,2}$/i.test(part))
        ? "the path has '.' or '..' as a part"
        : undefined;
  if (wrong !== undefined) {
    throw new Fault("invalid_argument", wrong, {
      field: "key",
      help: "a key is 1–1,024 bytes of UTF-8 without NUL and without '.' or '..' as a path part",
    });
  }
}

/** The body's pieces; throws `cancelled` if it breaks off, `timeout` if it stalls. */
async function* bodyOf(
  incoming: IncomingMessage,
  idleTimeoutMs: number,
): AsyncGenerator<Uint8Array> {
  // Small ones are read and sent in one go.
  if (Number(incoming.headers["content-length"] ?? Number.NaN) <= smallBytes) {
    yield* await gathered(incoming, idleTimeoutMs);
    return;
  }
  const pieces = incoming.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  for (;;) {
    const next = await withinIdleTime(pieces.next(), idleTimeoutMs);
    if (next.done === true) return;
    giveAway(next.value);
    yield next.value;
  }
}

/** The pieces of a small body, once all are there. Errors: as `bodyOf`. */
function gathered(incoming: IncomingMessage, idleTimeoutMs: number): Promise<Uint8Array[]> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array[]>();
  const pieces: Uint8Array[] = [];
  const timer = setTimeout(() => reject(stalled()), idleTimeoutMs);
  const brokeOff = (error?: Error) => {
    clearTimeout(timer);
    reject(broken(error));
  };
  incoming.on("data", (piece: Buffer) => {
    pieces.push(piece);
    timer.refresh();
  });
  incoming.once("end", () => {
    clearTimeout(timer);
    resolve(pieces);
  });
  incoming.once("error", brokeOff);
  incoming.once("close", brokeOff);
  return promise;
}

/** Leaves the connection as it is when the time is up: the client is still to be answered. */
function withinIdleTime<T>(piece: Promise<T>, idleTimeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(stalled()), idleTimeoutMs);
    piece.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(broken(error));
      },
    );
  });
}

function stalled(): Fault {
  return new Fault("timeout", "the body stalled", { field: "body" });
}

function broken(cause: unknown): Fault {
  return new Fault("cancelled", "the body broke off", { field: "body", cause });
}

async function collect(body: Body, maxBytes: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let total = 0;
  for await (const piece of body) {
    total += piece.byteLength;
    if (total > maxBytes) {
      throw new Fault("payload_too_large", "the body is too large", {
        field: "body",
        help: `at most ${maxBytes} bytes are accepted`,
      });
    }
    pieces.push(piece);
  }
  const bytes = Buffer.concat(pieces);
  // Decoded all the same, a name in it would be taken for another.
  if (isUtf8(bytes)) return bytes;
  throw new Fault("invalid_argument", "the body is not valid UTF-8", { field: "body" });
}

async function answer(
  response: Response,
  raw: RawRequest | undefined,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  signal: AbortSignal,
  options: ListenerOptions,
): Promise<void> {
  const headers: Record<string, string | string[]> = Object.fromEntries(response.headers);
  // Who is refused before the body was read shall read the answer, not a reset.
  const unread = !incoming.complete;
  if (unread) headers["connection"] = "close";
  const bodiless = incoming.method === "HEAD" || response.status === 304 || response.status === 204;
  // Only what streams says beforehand how long it is; a failure has a body of its own.
  const body = response.body === null ? raw?.answer : response.body;
  if (bodiless) {
    if (raw?.headBytes !== undefined) headers["content-length"] = String(raw.headBytes);
    outgoing.writeHead(response.status, headers);
    outgoing.end();
  } else if (body !== undefined && headers["content-length"] !== undefined) {
    outgoing.writeHead(response.status, headers);
    await pump(body, Number(headers["content-length"]), outgoing, signal, options);
  } else {
    const bytes = await response.bytes();
    headers["content-length"] = String(bytes.byteLength);
    outgoing.writeHead(response.status, headers);
    outgoing.end(bytes);
  }
  if (unread) {
    incoming.resume();
    const cut = setTimeout(() => incoming.destroy(), lingerMs);
    incoming.once("close", () => clearTimeout(cut));
  }
}

/** Sends a body no faster than the client reads; a body that fails ends the connection. */
async function pump(
  body: AsyncIterable<Uint8Array>,
  totalBytes: number,
  outgoing: ServerResponse,
  signal: AbortSignal,
  { idleTimeoutMs }: ListenerOptions,
): Promise<void> {
  try {
    for await (const piece of body) {
      if (signal.aborted) return;
      // Head and body leave together.
      if (piece.byteLength === totalBytes && totalBytes <= smallBytes) {
        outgoing.end(piece);
        return;
      }
      if (!outgoing.write(piece)) await drained(outgoing, signal, idleTimeoutMs);
      if (signal.aborted) return;
    }
    outgoing.end();
  } catch {
    // The stream has logged why; a short answer tells the client that it is not whole.
    outgoing.destroy();
  }
}

function drained(outgoing: ServerResponse, signal: AbortSignal, idleTimeoutMs: number) {
  return new Promise<void>((resolve) => {
    const timer = setTimeout(() => outgoing.destroy(), idleTimeoutMs);
    const done = () => {
      clearTimeout(timer);
      outgoing.off("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    outgoing.once("drain", done);
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
  });
}
