/**
 * SPEAR's REST and WebSocket interfaces as a client sees them. Every failure is
 * a `Fault`: the server's own from its problem document, or `unavailable` with
 * the address and what to check, within `connectTimeoutMs`.
 */
import { Fault, type Problem } from "@spear/shared/fault.ts";
import type { Event } from "@spear/shared/task.ts";

const connectTimeoutMs = 4_000;
/** Most events that wait for a slow reader. */
const maxBufferedEvents = 100_000;

const maxPageSize = 1_000;

export interface Page {
  nextPageToken?: string;
}

export interface Target {
  /** "SMS" or "the Object Store", as messages call it. */
  what: string;
  /** As `http://127.0.0.1:7700`. */
  address: string;
  /** How to say where it is. */
  help: string;
  token: string | undefined;
}

export interface RequestOptions {
  body?: unknown;
  query?: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
  headers?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
  /** Longest time until the answer begins. */
  timeoutMs?: number;
}

/** `127.0.0.1:7700` or a URL as the origin of one; throws `invalid_argument` naming `flag`. */
export function parseAddress(text: string, flag: string): string {
  const url = URL.parse(/^[a-z]+:\/\//i.test(text) ? text : `http://${text}`);
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === "") {
    throw new Fault("invalid_argument", `${flag}: "${text}" is no address`, {
      field: flag,
      help: "write it as 127.0.0.1:7700 or https://host:port",
    });
  }
  return url.origin;
}

export class Client {
  readonly address: string;
  readonly #target: Target;

  constructor(target: Target) {
    this.#target = target;
    this.address = target.address;
  }

  /** The server at its address could not be reached, or fell silent. */
  unreachable(cause: unknown): Fault {
    const why = cause instanceof Error && cause.name === "TimeoutError" ? "in time" : "";
    return new Fault(
      "unavailable",
      `${this.#target.what} does not answer ${why === "" ? "" : `${why} `}at ${this.address}`,
      { help: this.#target.help, cause },
    );
  }

  headers(): Record<string, string> {
    const { token } = this.#target;
    return token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  url(path: string, query: RequestOptions["query"] = {}): string {
    const url = new URL(path, this.address);
    for (const [name, value] of Object.entries(query)) {
      if (value === undefined || value === "") continue;
      for (const one of Array.isArray(value) ? value : [value]) {
        url.searchParams.append(name, String(one));
      }
    }
    return url.href;
  }

  /** A request that was answered with success; the body is the caller's to read. */
  async request(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    const timeout = new AbortController();
    const timer = setTimeout(
      () => timeout.abort(new DOMException("no answer", "TimeoutError")),
      options.timeoutMs ?? connectTimeoutMs,
    );
    const signals = [timeout.signal, ...(options.signal === undefined ? [] : [options.signal])];
    let response: Response;
    try {
      response = await fetch(this.url(path, options.query), {
        method,
        headers: {
          ...this.headers(),
          ...(options.body === undefined ? {} : { "content-type": "application/json" }),
          ...options.headers,
        },
        ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
        signal: AbortSignal.any(signals),
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw this.unreachable(error);
    } finally {
      clearTimeout(timer);
    }
    if (response.ok) return response;
    if (method !== "HEAD") throw await this.faultOf(response);
    // An answer to HEAD has no body to say why.
    const { body } = await this.request("GET", path, options);
    await body?.cancel();
    throw new Fault("unavailable", `${this.#target.what} answered ${response.status} and then not`);
  }

  /** The fault that an answer without success stands for. */
  async faultOf(response: Response): Promise<Fault> {
    const type = response.headers.get("content-type") ?? "";
    if (type.startsWith("application/problem+json")) {
      return Fault.fromProblem((await response.json()) as Partial<Problem>);
    }
    await response.body?.cancel();
    return new Fault(
      response.status === 404 ? "not_found" : "internal",
      `what listens at ${this.address} answered ${response.status} and is not ${this.#target.what}`,
      { help: this.#target.help },
    );
  }

  async json<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    const response = await this.request(method, path, options);
    try {
      return (await response.json()) as T;
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw this.unreachable(error);
    }
  }

  /** A paged list, page by page, until `limit` of what `sizeOf` counts have come. */
  async *pages<P extends Page>(
    path: string,
    query: NonNullable<RequestOptions["query"]>,
    sizeOf: (page: P) => number,
    limit = Number.POSITIVE_INFINITY,
  ): AsyncGenerator<P> {
    let pageToken: string | undefined;
    let left = limit;
    do {
      const page: P = await this.json("GET", path, {
        query: { ...query, pageSize: Math.min(left, maxPageSize), pageToken },
      });
      left -= sizeOf(page);
      yield page;
      pageToken = page.nextPageToken;
    } while (pageToken !== undefined && pageToken !== "" && left > 0);
  }

  /** Events from a WebSocket until the caller leaves the loop or the server closes it. */
  async *events(path: string, after: number, signal?: AbortSignal): AsyncGenerator<Event> {
    const url = this.url(path, { after }).replace(/^http/, "ws");
    const socket = new WebSocket(url, { headers: this.headers() });
    const queue: Event[] = [];
    let ended: Fault | "closed" | undefined;
    let wake: (() => void) | undefined;
    let opened = false;
    const end = (reason: Fault | "closed") => {
      ended ??= reason;
      wake?.();
    };
    const timer = setTimeout(
      () => end(this.unreachable(new DOMException("no answer", "TimeoutError"))),
      connectTimeoutMs,
    );
    socket.addEventListener("open", () => {
      opened = true;
      clearTimeout(timer);
    });
    socket.addEventListener("message", ({ data }) => {
      const message = JSON.parse(String(data)) as Event | { error: Partial<Problem> };
      if ("error" in message) return end(Fault.fromProblem(message.error));
      queue.push(message);
      if (queue.length > maxBufferedEvents) {
        end(new Fault("too_many_requests", "events come faster than they can be shown"));
      }
      wake?.();
    });
    socket.addEventListener("close", () => end(opened ? "closed" : this.unreachable(undefined)));
    socket.addEventListener("error", (event) => end(this.unreachable(event)));
    const onAbort = () => end("closed");
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      for (;;) {
        for (let event = queue.shift(); event !== undefined; event = queue.shift()) yield event;
        if (ended === "closed") return;
        if (ended !== undefined) throw ended;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.close();
    }
  }
}
