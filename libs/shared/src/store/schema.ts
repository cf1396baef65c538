/** Objects as a client of the store sees them. */
import type { ObjectId, TaskId } from "../ids.ts";

export interface ObjectName {
  bucket: string;
  key: string;
}

/** What names an object: its present name, or its id for ever. */
export type ObjectTarget = ObjectName | ObjectId;

/** An object's metadata, as the store's answers carry it. */
export interface ObjectInfo {
  id: ObjectId;
  /** The name under which it was asked for; empty if that was its id. */
  bucket: string;
  key: string;
  sizeBytes: number;
  /** In lower-case hex; empty if it was stored in several parts. */
  sha256: string;
  etag: string;
  contentType: string;
  metadata: Record<string, string>;
  createdAtMs: number;
  generation: number;
}

/** All that the store says of an object. */
export interface StoredObject extends ObjectInfo {
  /** Headers that travel with it, as cache-control. */
  headers: Record<string, string>;
  tags: Record<string, string>;
  pinned: boolean;
  /** Holders of references. */
  refs: string[];
}

/** `start` is included, `end` is not. */
export interface ByteRange {
  start: number;
  end: number;
}

/** From `offset`, for `length` bytes or to the end. */
export interface RangeRequest {
  offset: number;
  length?: number | undefined;
}

/** What a name must point at before a put; all that are set must hold. */
export interface WriteCondition {
  ifMatch?: string | undefined;
  ifAbsent?: boolean | undefined;
  ifGeneration?: number | undefined;
  /** This attempt must be its task's current one and run (T3). */
  attempt?: { taskId: TaskId; attempt: number } | undefined;
}

export interface PutRequest extends ObjectName {
  contentType?: string | undefined;
  metadata?: Readonly<Record<string, string>> | undefined;
  /** Expected SHA-256 in hex; a mismatch stores nothing. */
  sha256?: string | undefined;
  /** Expected size; a mismatch stores nothing. */
  sizeBytes?: number | undefined;
  condition?: WriteCondition | undefined;
}

/** A page of a bucket's objects, in the order of their keys. */
export interface ObjectPage {
  objects: ObjectInfo[];
  nextPageToken?: string;
}

/** An object that is open for reading. */
export interface OpenObject {
  info: ObjectInfo;
  /** What `body` yields. */
  range: ByteRange;
  body: AsyncGenerator<Uint8Array>;
}

/** `bucket/key`, as specs write it. */
export function objectName(text: string): ObjectName {
  const at = text.indexOf("/");
  return { bucket: text.slice(0, at), key: text.slice(at + 1) };
}

/** For messages. */
export function textOf(target: ObjectTarget): string {
  return typeof target === "string" ? target : `${target.bucket}/${target.key}`;
}
