/**
 * Objects for this node's tasks, through a cache on its disk. An object is found by
 * asking the store what a name means now; its bytes, which never change under an id,
 * come from the cache where it has them, else from the store, once for all who ask at
 * the same time. What the cache gives is verified; what is damaged is fetched anew.
 */
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import type { Log } from "@spear/shared/log.ts";
import type { PutBody, StoreClient } from "@spear/shared/store/client.ts";
import { DiskCache, type Lease } from "./disk-cache.ts";
import { copyEntry, DamagedEntry, infoIn, readEntry, writeEntry } from "./entry.ts";
import { writeNew } from "./file.ts";
import type {
  ByteRange,
  ObjectInfo,
  ObjectTarget,
  OpenObject,
  PutRequest,
  RangeRequest,
  StoredObject,
} from "@spear/shared/store/schema.ts";
import { textOf } from "@spear/shared/store/schema.ts";

/** An object may take this share of the cache; a larger one passes it by. */
const largestShare = 1 / 4;
/** Of an object that the cache does not have, a range is read on its own above this size. */
const wholeBelowBytes = 8 << 20;
const copyMode = 0o644;
/** Trouble of the cache's disk: the object may still go elsewhere. */
const diskTrouble = new Set(["ENOSPC", "EDQUOT", "EIO", "EROFS"]);
export interface NodeObjectsOptions {
  store: StoreClient;
  /** Directory of the cache. */
  dir: string;
  maxBytes: number;
  log: Log;
}

export class NodeObjects {
  readonly #store: StoreClient;
  readonly #cache: DiskCache;
  readonly #largestBytes: number;
  readonly #log: Log;
  /** Names under which cached objects were asked for, by id. */
  readonly #known = new Map<string, { name: string; bytes: number }>();

  constructor({ store, dir, maxBytes, log }: NodeObjectsOptions) {
    this.#store = store;
    this.#cache = new DiskCache(dir, maxBytes);
    this.#largestBytes = maxBytes * largestShare;
    this.#log = log;
    for (const id of this.#cache.names) {
      const info = infoIn(join(dir, id));
      if (info?.id !== id) void this.#cache.drop(id);
      else this.#note(info);
    }
  }

  /** Metadata of an object as the store has it now. Throws `object_not_found`, `unavailable`. */
  head(target: ObjectTarget, signal: AbortSignal): Promise<ObjectInfo> {
    return this.#store.head(target, signal);
  }

  /** All that the store knows of an object. Throws as `head`. */
  describe(target: ObjectTarget, signal: AbortSignal): Promise<StoredObject> {
    return this.#store.describe(target, signal);
  }

  /**
   * Opens an object; the body is to be read, or returned. Throws `object_not_found`,
   * `range_not_satisfiable`, `invalid_argument` and `unavailable`, the body `unavailable`.
   */
  async open(
    target: ObjectTarget,
    asked: RangeRequest | undefined,
    signal: AbortSignal,
  ): Promise<OpenObject> {
    const info = await this.head(target, signal);
    const range = rangeOf(asked, info.sizeBytes);
    return { info, range, body: this.#read(info, range, signal) };
  }

  async *#read(
    info: ObjectInfo,
    range: ByteRange,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    let { start } = range;
    const whole = range.end - start === info.sizeBytes || info.sizeBytes <= wholeBelowBytes;
    using lease = whole ? await this.#obtain(info, signal) : this.#cache.take(info.id);
    if (lease !== undefined) {
      try {
        for await (const piece of readEntry(lease.path, { start, end: range.end })) {
          start += piece.byteLength;
          yield piece;
        }
        return;
      } catch (error) {
        // What was given out was whole; the rest comes from the store.
        await this.#damaged(info, error);
      }
    }
    yield* this.#store.read(info.id, { start, end: range.end }, signal);
  }

  /**
   * Writes an object to a path where nothing is. Throws as `open`, and system errors of
   * the path.
   */
  async copyTo(target: ObjectTarget, path: string, signal: AbortSignal): Promise<void> {
    const info = await this.head(target, signal);
    for (let damages = 0; damages < 2; damages += 1) {
      using lease = await this.#obtain(info, signal);
      if (lease === undefined) break;
      try {
        return await copyEntry(lease.path, path, copyMode);
      } catch (error) {
        await this.#damaged(info, error);
      }
    }
    await this.#download(info, path, signal);
  }

  /** The object's file in the cache; undefined if the cache can't take it. */
  async #obtain(info: ObjectInfo, signal: AbortSignal): Promise<Lease | undefined> {
    if (info.sizeBytes > this.#largestBytes) return undefined;
    try {
      const make = (path: string) => writeEntry(path, info, this.#whole(info, signal));
      const lease = await this.#cache.obtain(info.id, make, signal);
      this.#note(info);
      return lease;
    } catch (error) {
      if (!diskTrouble.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
      this.#log.warn({ err: error, objectId: info.id }, "the cache can't take an object");
      return undefined;
    }
  }

  #whole(info: ObjectInfo, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    return this.#store.read(info.id, { start: 0, end: info.sizeBytes }, signal);
  }

  async #download(info: ObjectInfo, path: string, signal: AbortSignal): Promise<void> {
    const sha256 = await writeNew(path, this.#whole(info, signal));
    if (info.sha256 === "" || info.sha256 === sha256) return;
    throw new Fault("unavailable", `${info.id} did not arrive as it is stored`);
  }

  /** Throws what is no damage again. */
  async #damaged({ id }: ObjectInfo, error: unknown): Promise<void> {
    if (!(error instanceof DamagedEntry)) throw error;
    this.#log.warn({ objectId: id, reason: error.message }, "a cached object is damaged");
    await this.#cache.drop(id);
  }

  /** Stores an object whole or not at all, in the store. Throws as the store does. */
  put(request: PutRequest, body: PutBody, signal: AbortSignal): Promise<StoredObject> {
    return this.#store.put(request, body, signal);
  }

  /** Makes a bucket, unless it is there. Throws as the store does. */
  ensureBucket(bucket: string, signal: AbortSignal): Promise<void> {
    return this.#store.ensureBucket(bucket, signal);
  }

  #note(info: ObjectInfo): void {
    if (info.key === "") return;
    this.#known.set(info.id, { name: textOf(info), bytes: info.sizeBytes });
  }

  /** Names of cached objects as they were asked for, the largest first. */
  cachedNames(most: number): string[] {
    const there = new Set(this.#cache.names);
    for (const id of this.#known.keys()) if (!there.has(id)) this.#known.delete(id);
    const known = [...this.#known.values()].toSorted((a, b) => b.bytes - a.bytes);
    return [...new Set(known.map(({ name }) => name))].slice(0, most);
  }
}

/** The range that was asked for, cut to the object. Throws `range_not_satisfiable`. */
function rangeOf(asked: RangeRequest | undefined, size: number): ByteRange {
  const { offset, length } = asked ?? { offset: 0, length: undefined };
  if (offset < 0 || (length ?? 0) < 0) {
    throw new Fault("invalid_argument", "offset: a range can't be negative", { field: "offset" });
  }
  if (offset === 0 && length === undefined) return { start: 0, end: size };
  if (offset >= size || length === 0) {
    throw new Fault("range_not_satisfiable", `the object has ${size} bytes`, { field: "offset" });
  }
  return { start: offset, end: length === undefined ? size : Math.min(size, offset + length) };
}
