/**
 * fsck: holds names, objects, chunks' counts, blobs and segments against each
 * other, and mends what can be mended without guessing: counts that are off,
 * blobs and names of nothing, keepers that are not marked. What is lost, a
 * missing chunk, is only reported: mending can't bring bytes back.
 *
 * For a store that does not run. Memory: about 300 bytes a chunk.
 */
import { blobName, hashBytes, placeInSegment } from "../chunks/chunk.ts";
import type { Blobs } from "../chunks/blobs.ts";
import { headerBytes, type Segments } from "../chunks/segments.ts";
import { decodeRecord, unpackId, type ObjectRecord } from "../objects/record.ts";
import { nameOfMember } from "../objects/member.ts";
import type { StoreScripts } from "../objects/scripts.ts";

const page = 1_000;
const flagsAt = 4;
const unkeptFlags = 3;

export type FindingKind =
  | "chunk_missing"
  | "chunk_uses"
  | "chunk_unused"
  | "blob_orphan"
  | "segment_weight"
  | "name_dangling"
  | "object_names"
  | "object_keepers"
  | "object_doomed"
  | "bucket_usage";

export interface Finding {
  readonly kind: FindingKind;
  /** What it is about: a chunk's hash, an object's id, a blob, a name. */
  readonly subject: string;
  readonly detail: string;
  /** It was put right. */
  mended: boolean;
}

export interface FsckReport {
  readonly objects: number;
  readonly chunks: number;
  readonly blobs: number;
  readonly findings: Finding[];
}

interface ChunkState {
  uses: number;
  bytes: number;
  /** An object that needs it, for the report. */
  object: Buffer;
}

export class Fsck {
  readonly #scripts: StoreScripts;
  readonly #blobs: Blobs;
  readonly #segments: Segments;
  readonly #mend: boolean;
  readonly #nowMs: number;
  readonly #onProgress: (what: string) => void;
  readonly #findings: Finding[] = [];
  readonly #needed = new Map<string, ChunkState>();
  readonly #blobBytes = new Map<string, number>();
  readonly #segmentBytes = new Map<number, number>();
  /** How many names were found, by object. */
  readonly #named = new Map<string, number>();

  constructor(deps: {
    scripts: StoreScripts;
    blobs: Blobs;
    segments: Segments;
    mend: boolean;
    nowMs: number;
    onProgress: (what: string) => void;
  }) {
    this.#onProgress = deps.onProgress;
    this.#scripts = deps.scripts;
    this.#blobs = deps.blobs;
    this.#segments = deps.segments;
    this.#mend = deps.mend;
    this.#nowMs = deps.nowMs;
  }

  async run(): Promise<FsckReport> {
    await this.#list();
    await this.#checkNames();
    const objects = await this.#checkObjects();
    const { chunks, used, weights } = await this.#checkChunks();
    await this.#checkBlobs(used);
    await this.#checkWeights(weights);
    return { objects, chunks, blobs: this.#blobBytes.size, findings: this.#findings };
  }

  /** Looks at what there is; the backend may be far away, and one list is cheaper than many looks. */
  async #list(): Promise<void> {
    for await (const { name, bytes } of this.#blobs.list()) {
      this.#blobBytes.set(name, bytes);
      this.#onProgress(`${this.#blobBytes.size} blobs`);
    }
    for (const { segment, bytes } of await this.#segments.sealed()) {
      this.#segmentBytes.set(segment, bytes);
    }
  }

  async #found(
    kind: FindingKind,
    subject: string,
    detail: string,
    mend?: () => Promise<unknown>,
  ): Promise<void> {
    const mended = this.#mend && mend !== undefined;
    if (mended) await this.#scripts.call(mend());
    this.#findings.push({ kind, subject, detail, mended });
  }

  async #checkNames(): Promise<void> {
    const { redis, keys } = this.#scripts;
    for (const bucket of await this.#scripts.call(redis.hkeys(keys.buckets))) {
      let bytes = 0;
      for await (const members of this.#pages((cursor) =>
        redis.zscanBuffer(keys.names(bucket), cursor, "COUNT", page),
      )) {
        bytes += await this.#checkPage(
          bucket,
          members.map(([member]) => member),
        );
      }
      const counted = Number((await this.#scripts.call(redis.hget(keys.usage, bucket))) ?? 0);
      if (counted === bytes) continue;
      await this.#found("bucket_usage", bucket, `counts ${counted} bytes of ${bytes}`, () =>
        redis.hset(keys.usage, bucket, bytes),
      );
    }
  }

  /** Checks names of a bucket. Returns the bytes that they point at. */
  async #checkPage(bucket: string, members: readonly Buffer[]): Promise<number> {
    const { redis, keys } = this.#scripts;
    if (members.length === 0) return 0;
    const names = members.map(nameOfMember);
    const records = await this.#scripts.call(
      redis.hmgetBuffer(keys.objects, ...names.map(({ id }) => id)),
    );
    let bytes = 0;
    for (const [index, { key, id }] of names.entries()) {
      const record = records[index] ?? null;
      if (record === null) {
        await this.#found("name_dangling", `${bucket}/${key}`, "names no object", () =>
          redis.zrem(keys.names(bucket), members[index] as Buffer),
        );
        continue;
      }
      bytes += decodeRecord(record).sizeBytes;
      const hex = id.toString("hex");
      this.#onProgress(`${this.#named.size} names`);
      this.#named.set(hex, (this.#named.get(hex) ?? 0) + 1);
    }
    return bytes;
  }

  async #checkObjects(): Promise<number> {
    const { redis, keys } = this.#scripts;
    let count = 0;
    for await (const [id, bytes] of this.#hscan(keys.objects)) {
      count++;
      this.#onProgress(`${count} objects`);
      const record = decodeRecord(bytes);
      for (const { hash, bytes: size } of record.chunks) {
        const known = this.#needed.get(hash.toString("hex"));
        if (known !== undefined) known.uses++;
        else this.#needed.set(hash.toString("hex"), { uses: 1, bytes: size, object: id });
      }
      await this.#checkKeepers(id, bytes, record);
    }
    for await (const [id] of this.#zscan(keys.doomed)) {
      if ((await this.#scripts.call(redis.hexists(keys.objects, id))) === 1) continue;
      await this.#found("object_doomed", unpackId(id), "is doomed but not there", () =>
        redis.zrem(keys.doomed, id),
      );
    }
    return count;
  }

  /** The record's count of names, its flags and whether it is doomed must be what is found. */
  async #checkKeepers(id: Buffer, bytes: Buffer, record: ObjectRecord): Promise<void> {
    const { redis, keys } = this.#scripts;
    const subject = unpackId(id);
    const named = this.#named.get(id.toString("hex")) ?? 0;
    const refs = await this.#scripts.call(
      redis.zlexcount(keys.refs, lexBound(id), lexBound(id, 0xff)),
    );
    const right = Buffer.from(bytes);
    if (record.names !== named) {
      right.writeUInt32BE(named, 0);
      await this.#found("object_names", subject, `counts ${record.names} names of ${named}`, () =>
        redis.hset(keys.objects, id, right),
      );
    }
    if (record.hasRefs !== refs > 0) {
      right.writeUInt8((right.readUInt8(flagsAt) & ~2) | (refs > 0 ? 2 : 0), flagsAt);
      await this.#found("object_keepers", subject, `has ${refs} references`, () =>
        redis.hset(keys.objects, id, right),
      );
    }
    const kept = named > 0 || (right.readUInt8(flagsAt) & unkeptFlags) !== 0;
    const doomed = await this.#scripts.call(redis.zscore(keys.doomed, id));
    if (kept && doomed !== null) {
      await this.#found("object_doomed", subject, "is doomed but kept", () =>
        redis.zrem(keys.doomed, id),
      );
    } else if (!kept && doomed === null) {
      await this.#found("object_doomed", subject, "is kept by nothing but not doomed", () =>
        redis.zadd(keys.doomed, this.#nowMs, id),
      );
    }
  }

  async #checkChunks() {
    const { redis, keys } = this.#scripts;
    const used = new Set<string>();
    const weights = new Map<number, number>();
    let chunks = 0;
    for await (const [hash, entry] of this.#hscan(keys.chunks)) {
      chunks++;
      this.#onProgress(`${chunks} chunks`);
      const subject = hash.toString("hex");
      const needed = this.#needed.get(subject);
      if (needed === undefined) {
        await this.#found("chunk_unused", subject, "no object needs it", () =>
          redis.hdel(keys.chunks, hash),
        );
        continue;
      }
      this.#needed.delete(subject);
      const location = entry.subarray(4);
      const uses = entry.readUInt32BE(0);
      if (uses !== needed.uses) {
        const right = Buffer.from(entry);
        right.writeUInt32BE(needed.uses, 0);
        await this.#found("chunk_uses", subject, `counts ${uses} uses of ${needed.uses}`, () =>
          redis.hset(keys.chunks, hash, right),
        );
      }
      const place = placeInSegment(location);
      if (place === undefined) used.add(blobName(hash, location));
      else weights.set(place.segment, (weights.get(place.segment) ?? 0) + needed.bytes);
      if (!this.#isThere(hash, location, needed.bytes)) {
        await this.#found("chunk_missing", subject, `object ${unpackId(needed.object)} is damaged`);
      }
    }
    for (const [subject, { object }] of this.#needed) {
      await this.#found("chunk_missing", subject, `object ${unpackId(object)} is damaged`);
    }
    return { chunks, used, weights };
  }

  #isThere(hash: Buffer, location: Buffer, bytes: number): boolean {
    const place = placeInSegment(location);
    return place === undefined
      ? this.#blobBytes.get(blobName(hash, location)) === bytes
      : (this.#segmentBytes.get(place.segment) ?? 0) >= place.offset + headerBytes + bytes;
  }

  async #checkBlobs(used: ReadonlySet<string>): Promise<void> {
    const { redis, keys } = this.#scripts;
    for (const name of this.#blobBytes.keys()) {
      if (used.has(name)) continue;
      const member = Buffer.concat([
        Buffer.from(name.slice(0, hashBytes * 2), "hex"),
        Buffer.alloc(1),
        Buffer.from(name.slice(hashBytes * 2 + 1), "hex"),
      ]);
      // One that is condemned will go by itself.
      if ((await this.#scripts.call(redis.sismember(keys.condemned, member))) === 1) continue;
      await this.#found("blob_orphan", name, "no chunk lies there", () => this.#blobs.remove(name));
    }
  }

  async #checkWeights(weights: ReadonlyMap<number, number>): Promise<void> {
    const { redis, keys } = this.#scripts;
    const known = await this.#scripts.call(redis.hgetall(keys.segments));
    for (const segment of new Set([...weights.keys(), ...Object.keys(known).map(Number)])) {
      const right = weights.get(segment) ?? 0;
      const counted = Number(known[segment] ?? 0);
      if (right === counted) continue;
      const detail = `counts ${counted} bytes of ${right}`;
      await this.#found("segment_weight", String(segment), detail, () =>
        redis.hset(keys.segments, String(segment), right),
      );
    }
  }

  async *#hscan(key: string): AsyncGenerator<[Buffer, Buffer]> {
    const { redis } = this.#scripts;
    yield* this.#scan((cursor) => redis.hscanBuffer(key, cursor, "COUNT", page));
  }

  async *#zscan(key: string): AsyncGenerator<[Buffer, Buffer]> {
    const { redis } = this.#scripts;
    yield* this.#scan((cursor) => redis.zscanBuffer(key, cursor, "COUNT", page));
  }

  async *#scan(
    next: (cursor: string) => Promise<[Buffer, Buffer[]]>,
  ): AsyncGenerator<[Buffer, Buffer]> {
    for await (const pairs of this.#pages(next)) yield* pairs;
  }

  /** What a scan gives, in pairs of a member and its value or score. */
  async *#pages(
    next: (cursor: string) => Promise<[Buffer, Buffer[]]>,
  ): AsyncGenerator<[Buffer, Buffer][]> {
    let cursor = "0";
    do {
      const [following, flat] = await this.#scripts.call(next(cursor));
      const pairs: [Buffer, Buffer][] = [];
      for (let at = 0; at + 1 < flat.length; at += 2) {
        pairs.push([flat[at] as Buffer, flat[at + 1] as Buffer]);
      }
      yield pairs;
      cursor = following.toString();
    } while (cursor !== "0");
  }
}

/** The bound of a range of members that start with an id, itself included. */
function lexBound(id: Buffer, last?: number): Buffer {
  return Buffer.concat([Buffer.from("["), id, Buffer.from(last === undefined ? [] : [last])]);
}
