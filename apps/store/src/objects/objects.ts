/**
 * The service of objects; REST, gRPC and whatever comes else call this and
 * nothing below it. A put becomes visible by one script after all its chunks
 * are durable (O1); a reader holds one version from its first byte to its
 * last, and every chunk of it is verified before a byte leaves (O2).
 */
import type { Clock } from "@spear/shared/clock.ts";
import { Fault, type FaultCode } from "@spear/shared/fault.ts";
import type { IdSource, ObjectId } from "@spear/shared/ids.ts";
import type { Buckets } from "../buckets/buckets.ts";
import { smallBytes, type Body, type Chunks, type ChunkSlice } from "../chunks/chunks.ts";
import { failpoint } from "../failpoint.ts";
import { attributesOf, type GivenAttributes } from "./attributes.ts";
import { checkBucketName, checkKey, checkKeyPart } from "./names.ts";
import type { Readers } from "./readers.ts";
import { resolveRange, type ByteRange, type RangeRequest } from "./range.ts";
import { packId, timeOfId, type ObjectRecord } from "./record.ts";
import type { FoundObject, ObjectIndex } from "./redis.ts";
import type { ObjectName, StoredObject, WriteCondition } from "./schema.ts";

/** Chunks whose places are looked up at once. */
const locateWindow = 64;
/** Most keys of one bulk delete. */
const mostKeys = 1_000;
/** Faults of a commit that say that it never happens. */
const refusals: ReadonlySet<FaultCode> = new Set([
  "precondition_failed",
  "bucket_not_found",
  "quota_exceeded",
  "stale_attempt",
]);

export interface PutRequest extends ObjectName, GivenAttributes {
  /** Expected SHA-256 in hex. */
  sha256?: string | undefined;
  /** Expected size. */
  sizeBytes?: number | undefined;
  condition?: WriteCondition | undefined;
  /** The entity tag, asked for once the whole body was read. Default: the SHA-256. */
  etag?: (() => string) | undefined;
}

export interface ListRequest {
  bucket: string;
  prefix?: string | undefined;
  delimiter?: string | undefined;
  pageSize?: number | undefined;
  pageToken?: string | undefined;
  startAfter?: string | undefined;
}

export interface ListPage {
  objects: StoredObject[];
  prefixes: string[];
  nextPageToken?: string;
}

export interface DeleteResult {
  key: string;
  /** There was something to delete. */
  deleted: boolean;
  /** Why it was not tried or did not work. */
  fault?: Fault;
}

export interface CopyRequest extends ObjectName {
  source: ObjectName | ObjectId;
  condition?: WriteCondition | undefined;
  /** The copy's own attributes; without them it is the same object. */
  replace?: GivenAttributes;
}

export interface OpenObject {
  object: StoredObject;
  /** What `body` yields; undefined for the whole object. */
  range: ByteRange | undefined;
  body: AsyncGenerator<Buffer>;
}

/** An object as clients see it. */
export function storedOf(found: {
  id: ObjectId;
  record: ObjectRecord;
  generation: number;
  refs?: string[];
}): StoredObject {
  const { id, record, generation, refs = [] } = found;
  return {
    id,
    bucket: record.bucket,
    key: record.key,
    sizeBytes: record.sizeBytes,
    sha256: record.sha256,
    etag: record.etag,
    contentType: record.contentType,
    metadata: record.metadata,
    headers: record.headers,
    tags: record.tags,
    createdAtMs: timeOfId(packId(id)),
    generation,
    pinned: record.pinned,
    refs,
  };
}

export class Objects {
  readonly #index: ObjectIndex;
  readonly #chunks: Chunks;
  readonly #buckets: Buckets;
  readonly #clock: Clock;
  readonly #ids: IdSource;
  readonly #readers: Readers;
  readonly #maxObjectBytes: number;

  constructor(deps: {
    index: ObjectIndex;
    chunks: Chunks;
    buckets: Buckets;
    clock: Clock;
    ids: IdSource;
    readers: Readers;
    maxObjectBytes: number;
  }) {
    this.#index = deps.index;
    this.#chunks = deps.chunks;
    this.#buckets = deps.buckets;
    this.#clock = deps.clock;
    this.#ids = deps.ids;
    this.#readers = deps.readers;
    this.#maxObjectBytes = deps.maxObjectBytes;
  }

  /**
   * Stores an object whole, or leaves nothing. Errors: `invalid_argument`,
   * `bucket_not_found`, `checksum_mismatch`, `precondition_failed`,
   * `payload_too_large`, `store_full`, `quota_exceeded`, `stale_attempt`, and what the body throws.
   */
  async put(request: PutRequest, body: Body, signal: AbortSignal): Promise<StoredObject> {
    checkBucketName(request.bucket);
    checkKey(request.key);
    // The commit looks too: this only keeps large bodies from being read in vain.
    if ((request.sizeBytes ?? Infinity) > smallBytes) await this.#buckets.get(request.bucket);
    return this.putHidden(request, request, body, signal);
  }

  /** A put under a name that no client can use, or that was checked. Errors: as `put`. */
  async putHidden(
    { bucket, key }: ObjectName,
    request: Omit<PutRequest, "bucket" | "key">,
    body: Body,
    signal: AbortSignal,
  ): Promise<StoredObject> {
    const attributes = attributesOf(request);
    const sha256 = request.sha256?.toLowerCase();
    if (sha256 !== undefined && !/^[0-9a-f]{64}$/.test(sha256)) {
      throw new Fault("invalid_argument", "sha256: must be 64 hex digits", { field: "sha256" });
    }
    if ((request.sizeBytes ?? 0) > this.#maxObjectBytes) {
      throw new Fault("payload_too_large", "the object is too large", {
        field: "sizeBytes",
        help: `at most ${this.#maxObjectBytes} bytes are accepted`,
      });
    }
    const ingested = await this.#chunks.ingest(
      body,
      { maxBytes: this.#maxObjectBytes, expectedBytes: request.sizeBytes },
      signal,
    );
    const actual = ingested.sha256.toString("hex");
    if (sha256 !== undefined && sha256 !== actual) {
      await this.#chunks.discard(ingested.chunks);
      throw new Fault("checksum_mismatch", `the body's SHA-256 is ${actual}`, { field: "sha256" });
    }
    const record = {
      sizeBytes: ingested.bytes,
      sha256: actual,
      etag: request.etag?.() ?? actual,
      ...attributes,
    };
    failpoint("put.ingested");
    const id = this.#ids.next("obj");
    let outcome;
    try {
      outcome = await this.#index.commit(
        { bucket, key },
        id,
        record,
        ingested.chunks,
        request.condition ?? {},
        this.#clock.nowMs(),
      );
    } catch (error) {
      // Only a refusal says that nothing will ever name the chunks; after a
      // broken connection the commit may stand, and a sweep decides later.
      const { code } = Fault.from(error);
      if (refusals.has(code)) {
        await this.#chunks.discard(ingested.chunks);
      }
      throw error;
    }
    failpoint("put.committed");
    const surplus = new Set(outcome.surplus);
    this.#chunks.committed(ingested.chunks.filter((chunk) => !surplus.has(chunk)));
    await this.#chunks.discard(outcome.surplus);
    return storedOf({
      id,
      record: { ...record, bucket, key, names: 1, pinned: false, hasRefs: false, chunks: [] },
      generation: outcome.generation,
    });
  }

  /** Errors: `invalid_argument`, `bucket_not_found`, `object_not_found`. */
  async head(target: ObjectName | ObjectId): Promise<StoredObject> {
    return storedOf(await this.#find(target, false));
  }

  /**
   * An object and its bytes, or the range of them that `choose` wants of it;
   * every chunk is verified. A piece of the body is good until the next is asked
   * for. Errors: `object_not_found`, `range_not_satisfiable`; the body:
   * `object_corrupted`.
   */
  async open(
    target: ObjectName | ObjectId,
    signal: AbortSignal,
    choose: (object: StoredObject) => RangeRequest | undefined = () => undefined,
  ): Promise<OpenObject> {
    const found = await this.#find(target, true);
    const object = storedOf(found);
    const asked = choose(object);
    const range = asked === undefined ? undefined : resolveRange(asked, object.sizeBytes);
    return {
      object,
      range,
      body: this.#bytes(found, range ?? { start: 0, end: object.sizeBytes }, signal),
    };
  }

  #find(target: ObjectName | ObjectId, withChunks: boolean): Promise<FoundObject> {
    if (typeof target !== "string") {
      checkBucketName(target.bucket);
      checkKey(target.key);
    }
    return this.#index.find(target, withChunks);
  }

  async *#bytes(found: FoundObject, range: ByteRange, signal: AbortSignal): AsyncGenerator<Buffer> {
    const reader = this.#readers.enter(found.id);
    const slices: ChunkSlice[] = [];
    let at = 0;
    for (const chunk of found.record.chunks) {
      const from = Math.max(range.start - at, 0);
      const to = Math.min(range.end - at, chunk.bytes);
      if (from < to) slices.push({ chunk, from, to });
      at += chunk.bytes;
    }
    const locate = (from: number) =>
      this.#index.locate(slices.slice(from, from + locateWindow).map(({ chunk }) => chunk));
    try {
      yield* this.#chunks.stream(slices, found.location, locate, signal);
    } catch (error) {
      // What was collected between its opening and its first byte is gone, not damaged.
      if (Fault.from(error).code === "object_corrupted") await this.#index.find(found.id, false);
      throw error;
    } finally {
      reader[Symbol.dispose]();
    }
  }

  /** Errors: `invalid_argument`, `bucket_not_found`. */
  async list(request: ListRequest): Promise<ListPage> {
    const bucket = checkBucketName(request.bucket);
    const prefix = checkKeyPart(request.prefix ?? "", "prefix");
    const delimiter = checkKeyPart(request.delimiter ?? "", "delimiter");
    const startAfter = checkKeyPart(request.startAfter ?? "", "startAfter");
    const pageSize = request.pageSize ?? 1_000;
    if (!Number.isInteger(pageSize) || pageSize < 1 || pageSize > 1_000) {
      throw new Fault("invalid_argument", "pageSize: must be 1–1,000", { field: "pageSize" });
    }
    const { entries, next } = await this.#index.list({
      bucket,
      prefix,
      delimiter,
      pageSize,
      start: listStart(prefix, startAfter, request.pageToken),
      startAfter,
    });
    const page: ListPage = { objects: [], prefixes: [] };
    for (const entry of entries) {
      if (entry.kind === "prefix") page.prefixes.push(entry.prefix);
      else page.objects.push(storedOf(entry));
    }
    if (next.length > 0) page.nextPageToken = next.toString("base64url");
    return page;
  }

  /**
   * Takes a name away; false if there was none.
   * Errors: `bucket_not_found`, `precondition_failed`.
   */
  async delete(name: ObjectName, condition: WriteCondition = {}): Promise<boolean> {
    checkBucketName(name.bucket);
    checkKey(name.key);
    return this.#index.delete(name, condition, this.#clock.nowMs());
  }

  /**
   * Takes up to 1,000 names of a bucket away, each on its own: what fails is in
   * the answer with its fault. Errors: `invalid_argument`, `bucket_not_found`.
   */
  async deleteAll(bucket: string, keys: readonly string[]): Promise<DeleteResult[]> {
    if (keys.length > mostKeys) {
      throw new Fault("invalid_argument", `keys: at most ${mostKeys}`, { field: "keys" });
    }
    await this.#buckets.get(bucket);
    return Promise.all(
      keys.map((key) =>
        this.delete({ bucket, key }).then(
          (deleted) => ({ key, deleted }),
          (error: unknown) => ({ key, deleted: false, fault: Fault.from(error) }),
        ),
      ),
    );
  }

  /**
   * Gives an object another name; no bytes move.
   * Errors: `bucket_not_found`, `object_not_found`, `precondition_failed`, `quota_exceeded`.
   */
  async copy(request: CopyRequest): Promise<StoredObject> {
    const name = { bucket: checkBucketName(request.bucket), key: checkKey(request.key) };
    if (typeof request.source !== "string") {
      checkBucketName(request.source.bucket, "source.bucket");
      checkKey(request.source.key, "source.key");
    }
    let replace;
    if (request.replace !== undefined) {
      replace = { id: this.#ids.next("obj"), attributes: attributesOf(request.replace) };
    }
    return storedOf(
      await this.#index.copy(
        request.source,
        name,
        request.condition ?? {},
        replace,
        this.#clock.nowMs(),
      ),
    );
  }
}

/** The bound, itself included, at which a page starts; empty for the prefix's begin. */
function listStart(prefix: string, startAfter: string, pageToken: string | undefined): Buffer {
  const bounds = [Buffer.from(prefix)];
  if (startAfter !== "") bounds.push(Buffer.from(`${startAfter}\u0001`));
  if (pageToken !== undefined && pageToken !== "") {
    const token = Buffer.from(pageToken, "base64url");
    if (token.toString("base64url") !== pageToken || token.length > 2_048) {
      throw new Fault("invalid_argument", "pageToken: not a token of this listing", {
        field: "pageToken",
      });
    }
    bounds.push(token);
  }
  const start = bounds.reduce((a, b) => (Buffer.compare(a, b) < 0 ? b : a));
  return start === bounds[0] ? Buffer.alloc(0) : start;
}
