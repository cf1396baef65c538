/**
 * Metadata of objects in Redis: typed wrappers over the scripts. A hash of
 * objects by id, a hash of chunks by hash (uses, location), and for each bucket
 * a lexical sorted set of names.
 */
import type { ObjectId } from "@spear/shared/ids.ts";
import type { Chunk, PlacedChunk } from "../chunks/chunk.ts";
import type { Attributes } from "./attributes.ts";
import { Fault } from "@spear/shared/fault.ts";
import currentAttemptLua from "@spear/shared/redis/current.lua" with { type: "text" };
import commitLua from "./commit.lua" with { type: "text" };
import copyLua from "./copy.lua" with { type: "text" };
import deleteLua from "./delete.lua" with { type: "text" };
import headLua from "./head.lua" with { type: "text" };
import listLua from "./list.lua" with { type: "text" };
import { nameOfMember } from "./member.ts";
import { decodeRecord, encodeAttributes, encodeRecord, packId, unpackId } from "./record.ts";
import type { ObjectRecord } from "./record.ts";
import type { ObjectName, WriteCondition } from "./schema.ts";
import {
  batchScript,
  bucketNotFound,
  changeScript,
  objectNotFound,
  readScript,
  type StoreScripts,
} from "./scripts.ts";

export const objectScripts = {
  commit: changeScript("commit", 2, currentAttemptLua + commitLua),
  copy: changeScript("copy", 2, copyLua),
  delete: changeScript("delete", 1, deleteLua),
  list: readScript("list", 1, listLua),
};
const commits = batchScript("commit", "change", currentAttemptLua + commitLua);
const heads = batchScript("head", "read", headLua);

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

/** Conditions as scripts are given them. */
export function conditionArgs(condition: WriteCondition): [string, string, string] {
  return [
    condition.ifMatch ?? "",
    condition.ifAbsent === true ? "1" : "",
    condition.ifGeneration === undefined ? "" : String(condition.ifGeneration),
  ];
}

export class ObjectIndex {
  readonly #scripts: StoreScripts;

  constructor(scripts: StoreScripts) {
    this.#scripts = scripts;
  }

  #names(bucket: string): string {
    return this.#scripts.keys.names(bucket);
  }

  /**
   * Makes a put visible. Returns the generation and the chunks that were stored
   * already, which the caller removes. Errors: `bucket_not_found`,
   * `precondition_failed`, `stale_attempt`; `unavailable` leaves open whether it happened.
   */
  async commit(
    name: ObjectName,
    id: ObjectId,
    record: Omit<ObjectRecord, "names" | "pinned" | "hasRefs" | "bucket" | "key" | "chunks">,
    chunks: readonly PlacedChunk[],
    condition: WriteCondition,
    nowMs: number,
  ): Promise<{ generation: number; surplus: PlacedChunk[] }> {
    const { attempt } = condition;
    const bytes = encodeRecord({
      ...record,
      names: 0,
      pinned: false,
      hasRefs: false,
      bucket: "",
      key: "",
      chunks,
    });
    const args = [
      name.bucket,
      name.key,
      packId(id),
      bytes,
      Buffer.concat(chunks.map((chunk) => chunk.location)),
      nowMs,
      ...conditionArgs(condition),
      attempt?.attempt ?? "",
    ];
    const names = this.#names(name.bucket);
    const { status, rest } =
      attempt === undefined
        ? await this.#scripts.changeTogether(commits, names, args)
        : await this.#scripts.change(
            objectScripts.commit,
            [names, this.#scripts.keys.task(attempt.taskId)],
            args,
          );
    if (status === "stale_attempt") {
      throw new Fault("stale_attempt", "the attempt that puts has ended or a newer one exists");
    }
    if (status !== "ok") throw bucketNotFound(name.bucket);
    const [generation, ...surplus] = rest as number[];
    return {
      generation: generation ?? 0,
      surplus: surplus.flatMap((index) => chunks[index] ?? []),
    };
  }

  /** Takes a name away; false if there was none. Errors: `bucket_not_found`, `precondition_failed`. */
  async delete(name: ObjectName, condition: WriteCondition, nowMs: number): Promise<boolean> {
    const { status, rest } = await this.#scripts.change(
      objectScripts.delete,
      [this.#names(name.bucket)],
      [name.bucket, name.key, nowMs, ...conditionArgs(condition)],
    );
    if (status !== "ok") throw bucketNotFound(name.bucket);
    return rest[0] !== 0;
  }

  /**
   * Gives an object another name; with `replace` the copy is an object of its own.
   * Errors: `bucket_not_found`, `object_not_found`, `precondition_failed`.
   */
  async copy(
    source: ObjectName | ObjectId,
    name: ObjectName,
    condition: WriteCondition,
    replace: { id: ObjectId; attributes: Attributes } | undefined,
    nowMs: number,
  ): Promise<FoundObject> {
    const from = typeof source === "string" ? undefined : source;
    const { status, rest } = await this.#scripts.change(
      objectScripts.copy,
      [this.#names(name.bucket), this.#names(from?.bucket ?? name.bucket)],
      [
        name.bucket,
        name.key,
        typeof source === "string" ? packId(source) : "",
        from?.bucket ?? "",
        from?.key ?? "",
        nowMs,
        ...conditionArgs(condition),
        replace === undefined ? "" : packId(replace.id),
        replace === undefined ? "" : encodeAttributes(replace.attributes),
      ],
    );
    if (status === "bucket_not_found") throw bucketNotFound(name.bucket);
    if (status === "source_bucket_not_found") throw bucketNotFound(from?.bucket ?? "");
    if (status !== "ok") throw objectNotFound(typeof source === "string" ? source : source.key);
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
    const name = typeof target === "string" ? { bucket: "", key: "" } : target;
    const { status, rest } = await this.#scripts.readTogether(heads, this.#names(name.bucket), [
      name.bucket,
      name.key,
      typeof target === "string" ? packId(target) : "",
      withChunks ? "1" : "",
    ]);
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
    const { redis, keys } = this.#scripts;
    const entries = await this.#scripts.call(
      redis.hmgetBuffer(keys.chunks, ...chunks.map((chunk) => chunk.hash)),
    );
    return entries.map((entry) => entry?.subarray(4));
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
    const { status, rest } = await this.#scripts.read(
      objectScripts.list,
      [this.#names(request.bucket)],
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
    const [next, flat] = rest as [Buffer, Buffer[]];
    const entries: ListEntry[] = [];
    for (let at = 0; at + 2 < flat.length; at += 3) {
      const [kind, what, bytes] = flat.slice(at, at + 3) as [Buffer, Buffer, Buffer];
      if (String(kind) === "p") {
        entries.push({ kind: "prefix", prefix: String(what) });
        continue;
      }
      const { key, id, generation } = nameOfMember(what);
      const record = { ...decodeRecord(bytes), bucket: request.bucket, key, chunks: [] };
      entries.push({ kind: "object", id: unpackId(id), generation, record });
    }
    return { entries, next };
  }
}
