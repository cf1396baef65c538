/**
 * What a task running as a process or in a container may ask of its node:
 *
 *     import { connect } from "@spear/task";
 *     const task = connect();
 *     const text = (await task.objects.get("corpus/part-1.txt")).toString();
 *
 * Every call needs a grant in the task's spec; without one it throws a
 * `HostcallError` with the code `permission_denied` that names the grant.
 */
import type { Gives, ObjectInfo, Takes } from "@spear/shared/hostcalls.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import { collect, HostcallError, Socket, type Bytes } from "./socket.ts";

export { HostcallError, type ObjectInfo };

type Fields = Record<string, unknown>;
type PutOptions = Omit<Takes<"object.put">, "object">;
type RequestOptions = Omit<Takes<"http.request">, "url"> & { body?: Bytes | string };

const bytesOf = (data: Bytes | string): Bytes =>
  typeof data === "string" ? Buffer.from(data) : data;

/** Objects: `object.read`, `object.write` and `object.keep`, each for `bucket/key`. */
export class Objects {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** All bytes of an object. */
  async get(object: string): Promise<Buffer> {
    return collect((await this.#socket.take("object.get", { object })).body);
  }

  /** An object as it comes, from `offset` on, at most `lengthBytes`. */
  async stream(
    object: string,
    range: { offset?: number; lengthBytes?: number } = {},
  ): Promise<{ info: ObjectInfo; body: AsyncIterable<Uint8Array> }> {
    const { result, body } = await this.#socket.take("object.get", { object, ...range });
    return { info: result, body };
  }

  /** Stores bytes, or what a stream gives; visible whole or not at all. */
  put(object: string, data: Bytes | string, options: PutOptions = {}): Promise<ObjectInfo> {
    return this.#socket.give("object.put", { object, ...options }, bytesOf(data));
  }

  stat(object: string): Promise<ObjectInfo> {
    return this.#socket.call("object.stat", { object });
  }

  /** Objects below a prefix, as `corpus/`, in the order of their keys. */
  async *list(prefix: string): AsyncGenerator<ObjectInfo> {
    let pageToken: string | undefined;
    do {
      const page: Gives<"object.list"> = await this.#socket.call("object.list", {
        prefix,
        ...(pageToken === undefined ? {} : { pageToken }),
      });
      yield* page.objects;
      pageToken = page.nextPageToken;
    } while (pageToken !== undefined);
  }

  /** Keeps an object in this task's name, for `ttlMs` or until `unref`. */
  async ref(object: string, ttlMs?: number): Promise<void> {
    await this.#socket.call("object.ref", { object, ...(ttlMs === undefined ? {} : { ttlMs }) });
  }

  async unref(object: string): Promise<void> {
    await this.#socket.call("object.unref", { object });
  }

  async pin(object: string): Promise<void> {
    await this.#socket.call("object.pin", { object });
  }

  async unpin(object: string): Promise<void> {
    await this.#socket.call("object.unpin", { object });
  }
}

/** Child tasks: `task.submit`. A cancel of this task reaches those that are not detached. */
export class Children {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Submits a child; the same `key` returns the same one, also in a later attempt. */
  async submit(
    spec: TaskSpec,
    options: { key?: string; detached?: boolean } = {},
  ): Promise<string> {
    return (await this.#socket.call("task.submit", { spec, ...options })).taskId;
  }

  /** How a child stands when it has ended, or after `timeoutMs` (at most 60,000). */
  wait(taskId: string, timeoutMs?: number): Promise<Gives<"task.wait">> {
    return this.#socket.call("task.wait", {
      taskId,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
  }

  async cancel(taskId: string): Promise<void> {
    await this.#socket.call("task.cancel", { taskId });
  }
}

/** Keys and values that all tasks of the job share: `keyvalue.read`, `keyvalue.write`. */
export class KeyValue {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** A value with its version; undefined if there is none. */
  async get(key: string): Promise<{ value: Buffer; version: number } | undefined> {
    const { result, body } = await this.#socket.take("keyvalue.get", { key });
    const value = await collect(body);
    return result.version === 0 ? undefined : { value, version: result.version };
  }

  /** Writes a value; with `ifVersion` only over that version, 0 for none. Its version. */
  async set(key: string, value: Uint8Array | string, ifVersion?: number): Promise<number> {
    const params = { key, ...(ifVersion === undefined ? {} : { ifVersion }) };
    return (await this.#socket.give("keyvalue.set", params, bytesOf(value))).version;
  }

  async delete(key: string, ifVersion?: number): Promise<void> {
    const params = { key, ...(ifVersion === undefined ? {} : { ifVersion }) };
    await this.#socket.call("keyvalue.delete", params);
  }

  /** Adds to a whole number, which starts at 0. The sum. */
  async increment(key: string, by = 1): Promise<number> {
    return (await this.#socket.call("keyvalue.increment", { key, by })).value;
  }

  /** Keys that start with `prefix`, in order. */
  async *keys(prefix = ""): AsyncGenerator<string> {
    let page: Gives<"keyvalue.list"> = { keys: [], more: true };
    while (page.more) {
      const after = page.keys.at(-1) ?? "";
      page = await this.#socket.call("keyvalue.list", { prefix, after });
      yield* page.keys;
    }
  }
}

/** The task's node, as the task sees it. */
export class Task {
  readonly objects: Objects;
  readonly children: Children;
  readonly keyvalue: KeyValue;
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.objects = new Objects(socket);
    this.children = new Children(socket);
    this.keyvalue = new KeyValue(socket);
  }

  /** Who this is and what it is granted; needs no grant. */
  self(): Promise<Gives<"task.self">> {
    return this.#socket.call("task.self", {});
  }

  /** A structured line in the task's log: `log`. */
  async log(
    message: string,
    fields?: Fields,
    level: "debug" | "info" | "warn" | "error" = "info",
  ): Promise<void> {
    await this.#socket.call("log.write", { level, message, ...(fields && { fields }) });
  }

  /** A variable or secret of the task's spec: `config`. */
  async config(name: string): Promise<string | undefined> {
    return (await this.#socket.call("config.get", { name })).value;
  }

  /** An HTTP request to a host that was granted: `http:HOST`. Redirects are not followed. */
  async fetch(url: string, options: RequestOptions = {}): Promise<Response> {
    const { body = "", ...rest } = options;
    const reply = await this.#socket.take("http.request", { url, ...rest }, bytesOf(body));
    const { status, headers } = reply.result;
    // These speak of the connection that the node had, and say nothing of the bytes here.
    const { "transfer-encoding": _, connection: _c, "content-length": _l, ...own } = headers;
    const empty = [204, 205, 304].includes(status);
    const bytes = await collect(reply.body);
    return new Response(empty ? null : new Uint8Array(bytes), { status, headers: own });
  }
}

/**
 * The node that this process runs on. Throws `HostcallError` if the task grants no
 * hostcalls, so that there is no socket.
 */
export function connect(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Task {
  const { SPEAR_HOST_SOCKET: path, SPEAR_HOST_TOKEN: token } = environment;
  if (path !== undefined && token !== undefined) return new Task(new Socket(path, token));
  throw new HostcallError({
    code: "permission_denied",
    detail: "this task has no hostcalls",
    help: "grant some in its spec, as hostcalls: [object.read:corpus/*]",
  });
}
