/**
 * Multi-part uploads. An upload and its parts are objects in buckets of the
 * store's own, whose names no client can use, so that all that holds for objects
 * holds for them: durable before they are acknowledged, counted, journaled,
 * collected. Completing one makes an object of the parts' chunks in one script.
 * Parts may come in any order, at the same time, and again.
 */
import { createHash } from "node:crypto";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { IdSource, ObjectId } from "@spear/shared/ids.ts";
import type { Body } from "../chunks/chunks.ts";
import type { Buckets } from "../buckets/buckets.ts";
import type { Locks } from "../lifecycle/lock.ts";
import { attributesOf, type GivenAttributes } from "../objects/attributes.ts";
import { checkKey } from "../objects/names.ts";
import { storedOf, type Objects } from "../objects/objects.ts";
import { encodeRecord, packId } from "../objects/record.ts";
import { conditionArgs, type ListEntry, type ObjectIndex } from "../objects/redis.ts";
import type { ObjectName, StoredObject, WriteCondition } from "../objects/schema.ts";
import { bucketNotFound, changeScript, type StoreScripts } from "../objects/scripts.ts";
import completeLua from "./complete.lua" with { type: "text" };
import type { Part, Upload } from "./schema.ts";

const uploadsBucket = ".uploads";
const partsBucket = ".parts";
const mostParts = 10_000;
const page = 1_000;
const idPattern = /^[0-9A-HJKMNP-TV-Z]{26}$/;

const completeScript = changeScript("upload_complete", 3, completeLua);

export interface PartRequest {
  sizeBytes?: number | undefined;
  sha256?: string | undefined;
  /** The part's entity tag, asked for once the whole body was read. Default: the SHA-256. */
  etag?: (() => string) | undefined;
}

export interface CompleteRequest {
  parts: readonly { number: number; etag: string }[];
  condition?: WriteCondition | undefined;
}

function uploadNotFound(): Fault {
  return new Fault("upload_not_found", "there is no such upload", { field: "id" });
}

function partKey(id: string, number: number): string {
  return `${id}/${String(number).padStart(5, "0")}`;
}

export class Uploads {
  readonly #scripts: StoreScripts;
  readonly #index: ObjectIndex;
  readonly #objects: Objects;
  readonly #buckets: Buckets;
  readonly #locks: Locks;
  readonly #clock: Clock;
  readonly #ids: IdSource;
  readonly #expireMs: number;

  constructor(deps: {
    scripts: StoreScripts;
    index: ObjectIndex;
    objects: Objects;
    buckets: Buckets;
    locks: Locks;
    clock: Clock;
    ids: IdSource;
    expireMs: number;
  }) {
    this.#scripts = deps.scripts;
    this.#index = deps.index;
    this.#objects = deps.objects;
    this.#buckets = deps.buckets;
    this.#locks = deps.locks;
    this.#clock = deps.clock;
    this.#ids = deps.ids;
    this.#expireMs = deps.expireMs;
  }

  /** Makes the buckets that uploads live in; once at every start. */
  async prepare(): Promise<void> {
    for (const bucket of [uploadsBucket, partsBucket]) await this.#buckets.createHidden(bucket);
  }

  /** Begins an upload. Errors: `invalid_argument`, `bucket_not_found`. */
  async create(name: ObjectName, given: GivenAttributes): Promise<Upload> {
    checkKey(name.key);
    const attributes = attributesOf(given);
    await this.#buckets.get(name.bucket);
    const id = this.#ids.next("obj").slice("obj_".length);
    const body = async function* () {
      yield Buffer.from(JSON.stringify({ ...name, ...attributes }));
    };
    const { createdAtMs } = await this.#objects.putHidden(
      { bucket: uploadsBucket, key: id },
      {},
      body(),
      new AbortController().signal,
    );
    return { id, ...name, ...attributes, createdAtMs };
  }

  /** Errors: `upload_not_found`. */
  async get(id: string): Promise<Upload> {
    if (!idPattern.test(id)) throw uploadNotFound();
    const name = { bucket: uploadsBucket, key: id };
    const found = await this.#index.find(name, false).catch((error: unknown) => {
      throw Fault.from(error).code === "object_not_found" ? uploadNotFound() : error;
    });
    return this.#read(found.id, id);
  }

  async #read(objectId: ObjectId, id: string): Promise<Upload> {
    const { object, body } = await this.#objects.open(objectId, new AbortController().signal);
    let text = "";
    for await (const piece of body) text += piece.toString();
    const { createdAtMs } = object;
    return { id, createdAtMs, ...(JSON.parse(text) as Omit<Upload, "id" | "createdAtMs">) };
  }

  /** Uploads into a bucket, in the order of their keys. Errors: `bucket_not_found`. */
  async list(bucket: string): Promise<Upload[]> {
    await this.#buckets.get(bucket);
    const found: Upload[] = [];
    for await (const entry of this.#entries(uploadsBucket, "")) {
      const upload = await this.#read(entry.id, entry.record.key);
      if (upload.bucket === bucket) found.push(upload);
    }
    return found.toSorted((a, b) =>
      Buffer.compare(Buffer.from(`${a.key}\0${a.id}`), Buffer.from(`${b.key}\0${b.id}`)),
    );
  }

  /**
   * Stores a part, or replaces it. Errors: `upload_not_found`, `invalid_argument`,
   * `checksum_mismatch`, `payload_too_large`, `store_full`, and what the body throws.
   */
  async putPart(
    id: string,
    number: number,
    request: PartRequest,
    body: Body,
    signal: AbortSignal,
  ): Promise<Part> {
    if (!Number.isInteger(number) || number < 1 || number > mostParts) {
      throw new Fault("invalid_argument", `number: must be 1–${mostParts}`, { field: "number" });
    }
    await this.get(id);
    const name = { bucket: partsBucket, key: partKey(id, number) };
    return partOf(number, await this.#objects.putHidden(name, request, body, signal));
  }

  /** A page of an upload's parts, by number. Errors: `upload_not_found`. */
  async listParts(
    id: string,
    after = 0,
    limit = page,
  ): Promise<{ parts: Part[]; next: number | undefined }> {
    await this.get(id);
    const { entries, next } = await this.#index.list({
      bucket: partsBucket,
      prefix: `${id}/`,
      delimiter: "",
      pageSize: limit,
      start: Buffer.from(after === 0 ? "" : `${partKey(id, after)}\u0001`),
      startAfter: "",
    });
    const parts = entries.flatMap((entry) =>
      entry.kind === "object" ? partOf(numberOf(entry), storedOf(entry)) : [],
    );
    return { parts, next: next.length === 0 ? undefined : parts.at(-1)?.number };
  }

  /**
   * Makes the object; the upload is over then. Errors: `upload_not_found`,
   * `bucket_not_found`, `precondition_failed`, `invalid_argument` for a part that
   * is missing or has another tag.
   */
  async complete(id: string, request: CompleteRequest): Promise<StoredObject> {
    const upload = await this.get(id);
    const numbers = request.parts.map(({ number }) => number);
    if (
      numbers.length === 0 ||
      numbers.some((n, index) => index > 0 && n <= (numbers[index - 1] ?? 0))
    ) {
      throw new Fault("invalid_argument", "parts: must rise by number, and be at least one", {
        field: "parts",
      });
    }
    const known = new Map<number, Listed>();
    for await (const entry of this.#entries(partsBucket, `${id}/`)) {
      known.set(numberOf(entry), entry);
    }
    const parts = request.parts.map(({ number, etag }) => {
      const part = known.get(number);
      if (part !== undefined && part.record.etag === etag) return part;
      throw new Fault("invalid_argument", `part ${number} is missing or has another tag`, {
        field: "parts",
      });
    });
    const object = await this.#locks.hold("upload", (fence) =>
      this.#compose(upload, parts, request, fence),
    );
    await this.#removeParts(id);
    return object;
  }

  async #compose(
    upload: Upload,
    parts: readonly Listed[],
    request: CompleteRequest,
    fence: number,
  ): Promise<StoredObject> {
    const { bucket, key, contentType, metadata, headers, tags } = upload;
    const objectId = this.#ids.next("obj");
    const record = {
      names: 0,
      pinned: false,
      hasRefs: false,
      sizeBytes: 0,
      sha256: "",
      etag: tagOf(parts),
      bucket: "",
      key: "",
      contentType,
      metadata,
      headers,
      tags,
      chunks: [],
    };
    const { keys } = this.#scripts;
    const { status } = await this.#scripts.change(
      completeScript,
      [keys.names(bucket), keys.names(uploadsBucket), keys.names(partsBucket)],
      [
        bucket,
        key,
        packId(objectId),
        encodeRecord(record),
        this.#clock.nowMs(),
        ...conditionArgs(request.condition ?? {}),
        uploadsBucket,
        upload.id,
        fence,
        ...parts.flatMap((part) => [part.record.key, packId(part.id)]),
      ],
    );
    if (status === "bucket_not_found") throw bucketNotFound(bucket);
    if (status === "upload_not_found") throw uploadNotFound();
    if (status !== "ok") {
      throw new Fault("conflict", "a part was replaced while the upload was completed", {
        help: "list the parts and complete it again",
      });
    }
    return this.#objects.head(objectId);
  }

  /** Ends an upload and removes its parts; idempotent for its parts. Errors: `upload_not_found`. */
  async abort(id: string): Promise<void> {
    await this.get(id);
    const name = { bucket: uploadsBucket, key: id };
    await this.#index.delete(name, {}, this.#clock.nowMs());
    await this.#removeParts(id);
  }

  async #removeParts(id: string): Promise<void> {
    for await (const { record } of this.#entries(partsBucket, `${id}/`)) {
      await this.#index.delete({ bucket: partsBucket, key: record.key }, {}, this.#clock.nowMs());
    }
  }

  /** Ends uploads that are too old, and removes parts of uploads that are over. */
  async sweep(): Promise<void> {
    const oldest = this.#clock.nowMs() - this.#expireMs;
    const open = new Set<string>();
    for await (const entry of this.#entries(uploadsBucket, "")) {
      const { key } = entry.record;
      if (storedOf(entry).createdAtMs >= oldest) open.add(key);
      else await this.abort(key);
    }
    for await (const { record } of this.#entries(partsBucket, "")) {
      const id = record.key.split("/")[0] ?? "";
      if (open.has(id)) continue;
      // One that was begun while this looks is open too.
      const still = await this.get(id).catch((error: unknown) => Fault.from(error).code);
      if (still !== "upload_not_found") continue;
      await this.#index.delete({ bucket: partsBucket, key: record.key }, {}, this.#clock.nowMs());
    }
  }

  async *#entries(bucket: string, prefix: string): AsyncGenerator<Listed> {
    let start = Buffer.alloc(0);
    do {
      const { entries, next } = await this.#index.list({
        bucket,
        prefix,
        delimiter: "",
        pageSize: page,
        start,
        startAfter: "",
      });
      for (const entry of entries) if (entry.kind === "object") yield entry;
      start = Buffer.from(next);
    } while (start.length > 0);
  }
}

type Listed = Extract<ListEntry, { kind: "object" }>;

function numberOf({ record }: Listed): number {
  return Number(record.key.split("/")[1]);
}

function partOf(number: number, object: StoredObject): Part {
  const { sizeBytes, etag, sha256, createdAtMs } = object;
  return { number, sizeBytes, etag, sha256, createdAtMs };
}

/** As S3 makes it: the MD5 of the parts' tags, and how many they are. */
function tagOf(parts: readonly Listed[]): string {
  const hash = createHash("md5");
  for (const { record } of parts) hash.update(record.etag, "hex");
  return `${hash.digest("hex")}-${parts.length}`;
}
