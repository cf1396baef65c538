/**
 * Metadata of objects in Redis: typed wrappers over the scripts. Every change
 * is one script. `metadata.lua` layouts: a hash of objects by id, a hash of
 * chunks by hash (uses, location), a lexical sorted set of names per bucket.
 */
import type { Redis } from "ioredis";
import { Fault } from "@spear/shared/fault.ts";
import type { ObjectId } from "@spear/shared/ids.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import { Script } from "@spear/shared/redis/script.ts";
import type { Chunk, PlacedChunk } from "../chunks/chunk.ts";
import commitLua from "./commit.lua" with { type: "text" };
import copyLua from "./copy.lua" with { type: "text" };
import deleteLua from "./delete.lua" with { type: "text" };
import headLua from "./head.lua" with { type: "text" };
import lib from "./lib.lua" with { type: "text" };
import listLua from "./list.lua" with { type: "text" };
import type { ObjectName, WriteCondition } from "./schema.ts";
import { decodeRecord, encodeAttributes, encodeRecord, packId, unpackId } from "./record.ts";
import type { ObjectRecord } from "./record.ts";

type Answer = [Buffer, ...unknown[]];

const scripts = {
  commit: new Script<Answer>("store_commit", 8, lib + commitLua),
  copy: new Script<Answer>("store_copy", 9, lib + copyLua),
  delete: new Script<Answer>("store_delete", 7, lib + deleteLua),
  head: new Script<Answer>("store_head", 5, lib + headLua),
  list: new Script<Answer>("store_list", 3, lib + listLua),
};

/** Names of the store's keys. */
export function storeKeys(keys: Keys) {
  return {
    generation: keys.store("generation"),
    buckets: keys.store("buckets"),
    objects: keys.store("objects"),
    chunks: keys.store("chunks"),
    aliases: keys.store("aliases"),
    refs: keys.store("refs"),
    doomed: keys.store("doomed"),
    events: keys.store("events"),
    names: (bucket: string) => keys.store("names", bucket),
  };
}
export type StoreKeys = ReturnType<typeof storeKeys>;

export interface FoundObject {
  id: ObjectId;
  generation: number;
  record: ObjectRecord;
  refs: string[];
  /** Where its chunk lies, if it has just one and it was asked for. */
  location: Buffer | undefined;
}

export type ListEntry =
  | { kind: "object"; id: ObjectId; generation: number; record: ObjectRecord }
  | { kind: "prefix"; prefix: string };

function conditionArgs(condition: WriteCondition): [string, string, string] {
  return [
    condition.ifMatch ?? "",
    condition.ifAbsent === true ? "1" : "",
    condition.ifGeneration === undefined ? "" : String(condition.ifGeneration),
  ];
}

const unmet: Record<string, string> = {
  exists: "the key exists already",
  absent: "the key does not exist",
  etag: "the ETag is another one",
  generation: "the generation is another one",
};

export function bucketNotFound(bucket: string): Fault {
  return new Fault("bucket_not_found", `there is no bucket ${bucket}`, { field: "bucket" });
}

function objectNotFound(what: string): Fault {
  return new Fault("object_not_found", `there is no object ${what}`);
}

export class ObjectIndex {
  readonly #redis: Redis;
  readonly #keys: StoreKeys;

  constructor(redis: Redis, keys: StoreKeys) {
    this.#redis = redis;
    this.#keys = keys;
  }

  async #run(script: Script<Answer>, keys: string[], args: (string | number | Buffer)[]) {
    let answer: Answer;
    try {
      answer = await script.runBuffer(this.#redis, keys, args);
    } catch (error) {
      throw redisFault(error);
    }
    const [status, ...rest] = answer;
    if (status.toString() === "precondition") {
      throw new Fault("precondition_failed", unmet[String(rest[0])] ?? "a condition does not hold");
    }
    return { status: status.toString(), rest };
  }

  /**
   * Makes a put visible. Returns the generation and the chunks that were stored
   * already, which the caller removes. Errors: `bucket_not_found`,
   * `precondition_failed`; `unavailable` leaves open whether it happened.
   */
  async commit(
    name: ObjectName,
    id: ObjectId,
    record: Omit<ObjectRecord, "names" | "pinned" | "hasRefs" | "bucket" | "key" | "chunks">,
    chunks: readonly PlacedChunk[],
    condition: WriteCondition,
    nowMs: number,
  ): Promise<{ generation: number; surplus: PlacedChunk[] }> {
    const k = this.#keys;
    const bytes = encodeRecord({
      ...record,
      names: 0,
      pinned: false,
      hasRefs: false,
      bucket: "",
      key: "",
      chunks,
    });
    const { status, rest } = await this.#run(
      scripts.commit,
      [k.generation, k.buckets, k.objects, k.chunks, k.aliases, k.doomed, k.events].concat(
        k.names(name.bucket),
      ),
      [
        name.bucket,
        name.key,
        packId(id),
        bytes,
        Buffer.concat(chunks.map((chunk) => chunk.location)),
        nowMs,
        ...conditionArgs(condition),
      ],
    );
    if (status !== "ok") throw bucketNotFound(name.bucket);
    const [generation, ...surplus] = rest as number[];
    return {
      generation: generation ?? 0,
      surplus: surplus.flatMap((index) => chunks[index] ?? []),
    };
  }

  /** Takes a name away; false if there was none. Errors: `bucket_not_found`, `precondition_failed`. */
  async delete(name: ObjectName, condition: WriteCondition, nowMs: number): Promise<boolean> {
    const k = this.#keys;
    const { status, rest } = await this.#run(
      scripts.delete,
      [k.generation, k.buckets, k.objects, k.aliases, k.doomed, k.events, k.names(name.bucket)],
      [name.bucket, name.key, nowMs, ...conditionArgs(condition)],
    );
    if (status !== "ok") throw bucketNotFound(name.bucket);
    return rest[0] === 1;
  }

  /**
   * Gives an object another name; with `replace` the copy is an object of its own.
   * Errors: `bucket_not_found`, `object_not_found`, `precondition_failed`.
   */
  async copy(
    source: ObjectName | ObjectId,
    name: ObjectName,
    condition: WriteCondition,
    replace: { id: ObjectId; contentType: string; metadata: Record<string, string> } | undefined,
    nowMs: number,
  ): Promise<FoundObject> {
    const k = this.#keys;
    const from = typeof source === "string" ? undefined : source;
    const { status, rest } = await this.#run(
      scripts.copy,
      [k.generation, k.buckets, k.objects, k.chunks, k.aliases, k.doomed, k.events].concat(
        k.names(name.bucket),
        k.names(from?.bucket ?? name.bucket),
      ),
      [
        name.bucket,
        name.key,
        typeof source === "string" ? packId(source) : "",
        from?.bucket ?? "",
        from?.key ?? "",
        nowMs,
        ...conditionArgs(condition),
        replace === undefined ? "" : packId(replace.id),
        replace === undefined ? "" : encodeAttributes(replace.contentType, replace.metadata),
      ],
    );
    if (status === "bucket_not_found") throw bucketNotFound(name.bucket);
    if (status === "source_bucket_not_found") throw bucketNotFound(from?.bucket ?? "");
    if (status !== "ok") throw objectNotFound(from === undefined ? String(source) : from.key);
    const [generation, id, record] = rest as [number, Buffer, Buffer];
    return {
      id: unpackId(id),
      generation,
      record: { ...decodeRecord(record), ...name },
      refs: [],
      location: undefined,
    };
  }

  /** Errors: `bucket_not_found`, `object_not_found`. */
  async find(target: ObjectName | ObjectId, withChunks: boolean): Promise<FoundObject> {
    const k = this.#keys;
    const name = typeof target === "string" ? { bucket: "", key: "" } : target;
    const { status, rest } = await this.#run(
      scripts.head,
      [k.buckets, k.objects, k.chunks, k.refs, k.names(name.bucket)],
      [
        name.bucket,
        name.key,
        typeof target === "string" ? packId(target) : "",
        withChunks ? "1" : "",
      ],
    );
    if (status === "bucket_not_found") throw bucketNotFound(name.bucket);
    if (status !== "ok") throw objectNotFound(typeof target === "string" ? target : target.key);
    const [id, generation, record, refs, location] = rest as [
      Buffer,
      number,
      Buffer,
      Buffer[],
      Buffer,
    ];
    return {
      id: unpackId(id),
      generation,
      record: decodeRecord(record),
      refs: refs.map(String),
      location: location.length === 0 ? undefined : location,
    };
  }

  /** Where chunks lie, in the same order; undefined for one that is not known. */
  async locate(chunks: readonly Chunk[]): Promise<(Buffer | undefined)[]> {
    try {
      const entries = await this.#redis.hmgetBuffer(
        this.#keys.chunks,
        ...chunks.map((chunk) => chunk.hash),
      );
      return entries.map((entry) => entry?.subarray(4));
    } catch (error) {
      throw redisFault(error);
    }
  }

  /** A page of a bucket. Errors: `bucket_not_found`. */
  async list(request: {
    bucket: string;
    prefix: string;
    delimiter: string;
    pageSize: number;
    start: Buffer;
    startAfter: string;
  }): Promise<{ entries: ListEntry[]; next: Buffer }> {
    const k = this.#keys;
    const { status, rest } = await this.#run(
      scripts.list,
      [k.buckets, k.objects, k.names(request.bucket)],
      [
        request.bucket,
        request.prefix,
        request.delimiter,
        request.pageSize,
        request.start,
        request.startAfter,
      ],
    );
    if (status !== "ok") throw bucketNotFound(request.bucket);
    const [next, flat] = rest as [Buffer, (Buffer | number)[]];
    const entries: ListEntry[] = [];
    for (let at = 0; at < flat.length;) {
      if (String(flat[at]) === "p") {
        entries.push({ kind: "prefix", prefix: String(flat[at + 1]) });
        at += 2;
      } else {
        const [, id, generation, record] = flat.slice(at, at + 4) as [
          Buffer,
          Buffer,
          number,
          Buffer,
        ];
        entries.push({
          kind: "object",
          id: unpackId(id),
          generation,
          record: decodeRecord(record),
        });
        at += 4;
      }
    }
    return { entries, next };
  }
}
