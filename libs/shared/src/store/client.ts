/**
 * The Object Store as SMS and the nodes reach it: over HTTP, streaming in constant
 * memory, patient while the store is away for a moment. Everything fails with a
 * `Fault`; `unavailable` is the store's or the network's, never the task's.
 */
import { systemClock } from "../clock.ts";
import { Fault, type Problem } from "../fault.ts";
import { parseId, timeOfId, type ObjectId } from "../ids.ts";
import {
  textOf,
  type ByteRange,
  type ObjectInfo,
  type ObjectPage,
  type ObjectTarget,
  type PutRequest,
  type StoredObject,
} from "./schema.ts";

const tries = 6;
const firstPauseMs = 200;
const metaPrefix = "x-spear-meta-";

/** A body of a put; it is read once. */
export type PutBody = Uint8Array<ArrayBuffer> | Blob | AsyncIterable<Uint8Array>;

export class StoreClient {
  readonly #url: () => string | undefined;
  readonly #buckets = new Set<string>();

  /** `url`: the store's HTTP address; undefined or empty if the cluster has none. */
  constructor(url: () => string | undefined) {
    this.#url = url;
  }

  /** True if the cluster has a store. */
  get present(): boolean {
    return (this.#url() ?? "") !== "";
  }

  /** Metadata of an object. Throws `object_not_found` and the like, and `unavailable`. */
  head(target: ObjectTarget, signal: AbortSignal): Promise<ObjectInfo> {
    return this.#patiently(signal, async (url) => {
      const response = await fetch(addressOf(url, target), { method: "HEAD", signal });
      // An answer to HEAD has no body that would say more.
      if (response.status === 404) {
        throw new Fault("object_not_found", `there is no ${textOf(target)}`);
      }
      if (!response.ok) throw await faultOf(response);
      return infoOf(target, response.headers, Number(response.headers.get("content-length")));
    });
  }

  /** All that is known of an object, its keepers too. Throws as `head`. */
  async describe(target: ObjectTarget, signal: AbortSignal): Promise<StoredObject> {
    const { id, bucket, key, generation } = await this.head(target, signal);
    const answer = await this.#call("GET", `/v1/objects/${id}/info`, undefined, signal);
    const stored = (await answer.json()) as StoredObject;
    // An object may have several names, each with a generation of its own.
    return key === "" ? stored : { ...stored, bucket, key, generation };
  }

  /**
   * An object with all of its bytes in one request; undefined if there are more than
   * `maxBytes`. Throws as `head`.
   */
  small(
    target: ObjectTarget,
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<{ info: ObjectInfo; bytes: Uint8Array } | undefined> {
    return this.#patiently(signal, async (url) => {
      const response = await fetch(addressOf(url, target), { signal });
      if (!response.ok) throw await faultOf(response);
      const sizeBytes = Number(response.headers.get("content-length") ?? Number.NaN);
      if (!(sizeBytes <= maxBytes)) {
        await response.body?.cancel();
        return undefined;
      }
      const info = infoOf(target, response.headers, sizeBytes);
      const bytes = await response.bytes();
      const whole = info.sha256 === "" || Bun.SHA256.hash(bytes, "hex") === info.sha256;
      if (bytes.length === sizeBytes && whole) return { info, bytes };
      throw new Fault("unavailable", `${info.id} did not arrive as it is stored`);
    });
  }

  /**
   * A range of an object's bytes. What breaks off goes on where it was, for an id never
   * means other bytes. Throws as `head`.
   */
  async *read(
    id: ObjectId,
    { start, end }: ByteRange,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    let at = start;
    for (let failures = 0; at < end; failures += 1) {
      const response = await this.#patiently(signal, async (url) => {
        const headers = { range: `bytes=${at}-${end - 1}` };
        // An object may say that it is compressed; its bytes are what was put.
        const answer = await fetch(addressOf(url, id), { headers, signal, decompress: false });
        if (!answer.ok) throw await faultOf(answer);
        return answer;
      });
      let cause: unknown;
      try {
        for await (const piece of (response.body ?? []) as AsyncIterable<Uint8Array>) {
          at += piece.byteLength;
          failures = 0;
          yield piece;
        }
      } catch (error) {
        signal.throwIfAborted();
        cause = error;
      }
      if (at < end && failures >= tries) {
        throw new Fault("unavailable", `reading ${id} broke off`, { cause });
      }
    }
  }

  /**
   * Stores an object whole, or nothing. A body that can be read again is sent again while
   * the store is away. Throws as the store does, and `unavailable`.
   */
  async put(request: PutRequest, body: PutBody, signal: AbortSignal): Promise<StoredObject> {
    const send = async (url: string) => {
      const response = await fetch(addressOf(url, request), {
        method: "PUT",
        body,
        headers: headersOf(request),
        signal,
      });
      if (!response.ok) {
        // Somebody may have removed the bucket since.
        this.#buckets.delete(request.bucket);
        throw await faultOf(response);
      }
      const stored = (await response.json()) as StoredObject;
      if (request.sizeBytes === undefined || stored.sizeBytes === request.sizeBytes) return stored;
      throw new Fault("unavailable", `the store has ${stored.sizeBytes} bytes`);
    };
    const again = body instanceof Blob || body instanceof Uint8Array;
    return this.#patiently(signal, send, again ? tries : 1);
  }

  /** Makes a bucket, unless it is there. Throws as `put`. */
  async ensureBucket(bucket: string, signal: AbortSignal): Promise<void> {
    if (this.#buckets.has(bucket)) return;
    await this.#call("PUT", `/v1/buckets/${bucket}?ifAbsent=true`, undefined, signal);
    this.#buckets.add(bucket);
  }

  /**
   * Keeps an object alive for a holder, for `ttlMs` or until it is taken away. Throws
   * `object_not_found` and `unavailable`.
   */
  async addRef(id: ObjectId, holder: string, signal: AbortSignal, ttlMs?: number): Promise<void> {
    const body = { holder, ...(ttlMs === undefined ? {} : { ttlMs }) };
    await this.#call("POST", `/v1/objects/${id}/refs`, body, signal);
  }

  /** Pins an object, or takes the pin away. Throws `object_not_found` and `unavailable`. */
  async pin(id: ObjectId, pinned: boolean, signal: AbortSignal): Promise<void> {
    await this.#call(pinned ? "PUT" : "DELETE", `/v1/objects/${id}/pin`, undefined, signal);
  }

  /** A page of a bucket's objects. Throws `bucket_not_found` and `unavailable`. */
  list(
    bucket: string,
    query: {
      prefix?: string;
      startAfter?: string;
      pageSize?: number | undefined;
      pageToken?: string | undefined;
    },
    signal: AbortSignal,
  ): Promise<ObjectPage> {
    const { prefix = "", startAfter = "", pageSize, pageToken } = query;
    const search = new URLSearchParams({ prefix, startAfter });
    if (pageSize !== undefined) search.set("pageSize", String(pageSize));
    if (pageToken !== undefined) search.set("pageToken", pageToken);
    return this.#patiently(signal, async (url) => {
      const path = `/v1/buckets/${encodeURIComponent(bucket)}/objects?${search.toString()}`;
      const response = await fetch(url + path, { signal });
      if (!response.ok) throw await faultOf(response);
      return (await response.json()) as ObjectPage;
    });
  }

  /** Takes a holder's reference away. Throws `object_not_found` and `unavailable`. */
  async removeRef(id: ObjectId, holder: string, signal: AbortSignal): Promise<void> {
    const query = new URLSearchParams({ holder }).toString();
    await this.#call("DELETE", `/v1/objects/${id}/refs?${query}`, undefined, signal);
  }

  /** Takes a name away; idempotent. Throws `bucket_not_found` and `unavailable`. */
  async delete(target: ObjectTarget, signal: AbortSignal): Promise<void> {
    await this.#call("DELETE", pathOf(target), undefined, signal);
  }

  #call(method: string, path: string, body: object | undefined, signal: AbortSignal) {
    return this.#patiently(signal, async (url) => {
      const response = await fetch(url + path, {
        method,
        signal,
        ...(body === undefined
          ? {}
          : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
      });
      if (!response.ok) throw await faultOf(response);
      return new Response(await response.arrayBuffer());
    });
  }

  /** Tries again while the store is away; then throws `unavailable`. */
  async #patiently<T>(
    signal: AbortSignal,
    run: (url: string) => Promise<T>,
    most = tries,
  ): Promise<T> {
    const url = this.#url() ?? "";
    if (url === "") throw new Fault("unavailable", "the cluster has no Object Store");
    for (let failures = 1; ; failures += 1) {
      try {
        return await run(url);
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof Fault && !error.row.retryable) throw error;
        if (failures >= most) {
          throw new Fault("unavailable", `the Object Store at ${url} does not answer`, {
            help: "check that it runs and that --store-url is its address",
            cause: error,
          });
        }
        await systemClock.wait(firstPauseMs * 2 ** (failures - 1), signal);
      }
    }
  }
}

/** Path of an object, the key encoded part by part. */
function pathOf(target: ObjectTarget): string {
  if (typeof target === "string") return `/v1/objects/${target}`;
  const key = target.key.split("/").map(encodeURIComponent).join("/");
  return `/v1/buckets/${encodeURIComponent(target.bucket)}/objects/${key}`;
}

/**
 * Address of an object. Throws `invalid_argument` for a key that a URL can't carry as it
 * is ("." and ".." as its parts), which the store refuses anyway.
 */
function addressOf(storeUrl: string, target: ObjectTarget): string {
  const unsafe =
    typeof target !== "string" &&
    (!target.key.isWellFormed() || /(?:^|\/)\.{1,2}(?:\/|$)/.test(target.key));
  if (unsafe) {
    throw new Fault("invalid_argument", "key: is none that an object can have", { field: "key" });
  }
  return storeUrl + pathOf(target);
}

function infoOf(target: ObjectTarget, headers: Headers, sizeBytes: number): ObjectInfo {
  const id = parseId("obj", headers.get("x-spear-object-id"), "x-spear-object-id");
  const metadata: Record<string, string> = {};
  headers.forEach((value, name) => {
    if (name.startsWith(metaPrefix)) metadata[name.slice(metaPrefix.length)] = value;
  });
  return {
    id,
    ...(typeof target === "string" ? { bucket: "", key: "" } : target),
    sizeBytes,
    sha256: headers.get("x-spear-sha256") ?? "",
    etag: (headers.get("etag") ?? "").replaceAll('"', ""),
    contentType: headers.get("content-type") ?? "",
    metadata,
    createdAtMs: timeOfId(id),
    generation: Number(headers.get("x-spear-generation") ?? 0),
  };
}

function headersOf({ contentType, metadata, sha256, condition = {} }: PutRequest): Headers {
  const headers = new Headers({ "content-type": contentType ?? "application/octet-stream" });
  for (const [name, value] of Object.entries(metadata ?? {})) {
    headers.set(metaPrefix + name, value);
  }
  if (sha256 !== undefined) headers.set("x-spear-sha256", sha256);
  if (condition.ifMatch !== undefined) headers.set("if-match", `"${condition.ifMatch}"`);
  if (condition.ifAbsent === true) headers.set("if-none-match", "*");
  if (condition.ifGeneration !== undefined) {
    headers.set("x-spear-if-generation", String(condition.ifGeneration));
  }
  if (condition.attempt !== undefined) {
    const { taskId, attempt } = condition.attempt;
    headers.set("x-spear-attempt", `${taskId}/${attempt}`);
  }
  return headers;
}

/** The store's answer as a fault; the body of an error that is not ours is left alone. */
async function faultOf(response: Response): Promise<Fault> {
  try {
    return Fault.fromProblem((await response.json()) as Partial<Problem>);
  } catch {
    return new Fault("unavailable", `the store answers ${response.status}`);
  }
}
