/**
 * Chunks in and out: a stream becomes chunks, and chunks become bytes that were
 * verified. Memory per stream is bounded: a few chunks in flight, whatever the
 * size of the object. Nothing here is visible before the commit names it (O1).
 */
import { createHash } from "node:crypto";
import { Fault } from "@spear/shared/fault.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Blobs } from "./blobs.ts";
import { ChunkBuffers } from "./buffers.ts";
import { blobName, chunkBytes, hashOf, newBlobLocation, placeInSegment } from "./chunk.ts";
import type { Chunk, PlacedChunk } from "./chunk.ts";
import type { Hashing, StreamHash } from "./hashing.ts";
import { release } from "./pieces.ts";
import { headerOf, type Segments } from "./segments.ts";

/** Most chunks of one stream that are being written at once. */
const inFlightPerStream = 4;
/** Objects up to this size take no buffer of a chunk, and lie in a segment. */
export const smallBytes = 64 << 10;

/**
 * Bytes received between two collections of garbage, of pieces that could not be
 * released: the runtime hears late of what they hold.
 */
const collectEveryBytes = 32 << 20;
/** Largest piece that a reader is handed, in bytes. */
const pieceBytes = 1 << 20;

export type Body = AsyncIterable<Uint8Array>;

export interface IngestLimits {
  maxBytes: number;
  /** What the client announced; anything else is refused. */
  expectedBytes?: number | undefined;
}

/** A part of a chunk: from `from`, included, to `to`, not included. */
export interface ChunkSlice {
  readonly chunk: Chunk;
  readonly from: number;
  readonly to: number;
}

export interface Ingested {
  readonly chunks: readonly PlacedChunk[];
  readonly bytes: number;
  readonly sha256: Buffer;
}

/** Makes a chunk durable and says where it lies. */
type WriteChunk = (hash: Buffer, bytes: Buffer) => Promise<Buffer>;

/** One stream of more than a small object's bytes on its way in. */
class Ingest {
  readonly placed: Promise<PlacedChunk>[] = [];
  bytes = 0;
  readonly #hash: StreamHash;
  readonly #inFlight = new Set<Promise<unknown>>();
  readonly #byHash = new Map<string, Promise<PlacedChunk>>();
  readonly #write: WriteChunk;
  #failure: { error: unknown } | undefined;

  constructor(hash: StreamHash, write: WriteChunk) {
    this.#hash = hash;
    this.#write = write;
  }

  /** Starts to hash and write a chunk; `done` is called when `bytes` may be reused. */
  async add(bytes: Buffer, done: () => void): Promise<void> {
    while (this.#inFlight.size >= inFlightPerStream) await Promise.race(this.#inFlight);
    if (this.#failure !== undefined) {
      done();
      throw this.#failure.error;
    }
    this.bytes += bytes.byteLength;
    const placed = this.#place(bytes);
    this.placed.push(placed);
    const watched = placed
      .catch((error: unknown) => (this.#failure ??= { error }))
      .finally(() => {
        done();
        this.#inFlight.delete(watched);
      });
    this.#inFlight.add(watched);
  }

  async #place(bytes: Buffer): Promise<PlacedChunk> {
    const hash = await this.#hash.update(bytes);
    const name = hash.toString("base64");
    let placed = this.#byHash.get(name);
    if (placed === undefined) {
      placed = this.#write(hash, bytes).then((location) => ({
        hash,
        bytes: bytes.byteLength,
        location,
      }));
      this.#byHash.set(name, placed);
    }
    return placed;
  }

  /** All of it, once it is durable. */
  async finish(): Promise<Ingested> {
    const chunks = await Promise.all(this.placed);
    return { chunks, bytes: this.bytes, sha256: await this.#hash.digest() };
  }

  /** Gives up; the chunks that were written all the same. */
  async abandon(): Promise<PlacedChunk[]> {
    const settled = await Promise.allSettled(this.placed);
    await this.#hash.digest().catch(() => undefined);
    return settled.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
  }
}

export class Chunks {
  readonly #blobs: Blobs;
  readonly #segments: Segments;
  readonly #incoming: ChunkBuffers;
  readonly #outgoing: ChunkBuffers;
  readonly #hashing: Hashing;
  readonly #log: Log;
  #uncollectedBytes = 0;

  /** `bufferBytes`: memory for chunks, once for those coming in and once for those going out. */
  constructor(blobs: Blobs, segments: Segments, hashing: Hashing, bufferBytes: number, log: Log) {
    this.#blobs = blobs;
    this.#segments = segments;
    this.#hashing = hashing;
    this.#incoming = new ChunkBuffers(bufferBytes);
    this.#outgoing = new ChunkBuffers(bufferBytes);
    this.#log = log;
  }

  /**
   * Stores a stream as chunks, each durable by the time this resolves. When it
   * rejects, nothing is left. Errors: `invalid_argument` (not the announced
   * size), `payload_too_large`, `store_full`, and what the stream throws.
   */
  async ingest(body: Body, limits: IngestLimits, signal: AbortSignal): Promise<Ingested> {
    const pieces = this.#pieces(body, limits, signal);
    try {
      const first: Uint8Array[] = [];
      let total = 0;
      for (;;) {
        const next = await pieces.next();
        if (next.done === true) return await this.#ingestSmall(first, total);
        first.push(next.value);
        total += next.value.byteLength;
        if (total > smallBytes) return await this.#ingestLarge(first, pieces, signal);
      }
    } finally {
      await pieces.return(undefined);
    }
  }

  async #ingestSmall(pieces: readonly Uint8Array[], total: number): Promise<Ingested> {
    const [one] = pieces;
    const bytes = pieces.length === 1 && one !== undefined ? viewOf(one) : Buffer.concat(pieces);
    const sha256 = createHash("sha256").update(bytes).digest();
    if (total === 0) return { chunks: [], bytes: 0, sha256 };
    const hash = hashOf(bytes);
    const location = await this.#segments.append(hash, bytes);
    for (const piece of pieces) release(piece);
    return { chunks: [{ hash, bytes: total, location }], bytes: total, sha256 };
  }

  async #ingestLarge(
    first: readonly Uint8Array[],
    rest: AsyncGenerator<Uint8Array>,
    signal: AbortSignal,
  ): Promise<Ingested> {
    const ingest = new Ingest(this.#hashing.begin(), (hash, bytes) =>
      bytes.byteLength <= smallBytes
        ? this.#segments.append(hash, bytes)
        : this.#writeBlob(hash, bytes),
    );
    try {
      await this.#fill(ingest, first, rest, signal);
      return await ingest.finish();
    } catch (error) {
      await this.discard(await ingest.abandon());
      throw error;
    }
  }

  async #writeBlob(hash: Buffer, bytes: Buffer): Promise<Buffer> {
    const location = newBlobLocation();
    await this.#blobs.write(blobName(hash, location), bytes);
    return location;
  }

  /** The pieces of a body, as long as it keeps to its limits. */
  async *#pieces(
    body: Body,
    limits: IngestLimits,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, undefined> {
    const { maxBytes, expectedBytes } = limits;
    const most = Math.min(maxBytes, expectedBytes ?? Number.MAX_SAFE_INTEGER);
    let total = 0;
    for await (const piece of body) {
      signal.throwIfAborted();
      total += piece.byteLength;
      if (total > most) throw tooLong(limits);
      yield piece;
    }
    if (expectedBytes !== undefined && total !== expectedBytes) {
      throw new Fault(
        "invalid_argument",
        `the body has ${total} bytes, not the ${expectedBytes} announced`,
        { field: "body" },
      );
    }
    return undefined;
  }

  /** Cuts a stream into chunks. */
  async #fill(
    ingest: Ingest,
    first: readonly Uint8Array[],
    rest: AsyncGenerator<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void> {
    let buffer: Buffer | undefined;
    let filled = 0;
    const flush = async () => {
      const full = buffer;
      const size = filled;
      buffer = undefined;
      filled = 0;
      if (full !== undefined) {
        await ingest.add(full.subarray(0, size), () => this.#incoming.give(full));
      }
    };
    const append = async (piece: Uint8Array) => {
      const { byteLength } = piece;
      for (let at = 0; at < byteLength;) {
        buffer ??= await this.#incoming.take(signal);
        const taken = Math.min(chunkBytes - filled, byteLength - at);
        buffer.set(piece.subarray(at, at + taken), filled);
        filled += taken;
        at += taken;
        if (filled === chunkBytes) await flush();
      }
      if (!release(piece)) this.#collect(byteLength);
    };
    try {
      for (const piece of first) await append(piece);
      for await (const piece of rest) await append(piece);
      await flush();
    } finally {
      if (buffer !== undefined) this.#incoming.give(buffer);
    }
  }

  #collect(received: number): void {
    this.#uncollectedBytes += received;
    if (this.#uncollectedBytes < collectEveryBytes) return;
    this.#uncollectedBytes = 0;
    Bun.gc(true);
  }

  /** The commit that names these chunks was made; they are no longer on their way. */
  committed(chunks: readonly PlacedChunk[]): void {
    for (const { location } of new Set(chunks)) this.#segments.settle(location);
  }

  /** Removes chunks that no commit has named and none ever will. */
  async discard(chunks: readonly PlacedChunk[]): Promise<void> {
    for (const chunk of new Set(chunks)) {
      if (placeInSegment(chunk.location) !== undefined) {
        this.#segments.settle(chunk.location);
        continue;
      }
      await this.#blobs.remove(blobName(chunk.hash, chunk.location)).catch((error: unknown) => {
        this.#log.warn({ err: error }, "can't remove a chunk; the next sweep will");
      });
    }
  }

  /** Reads and verifies a chunk; what is wrong with it, or undefined. */
  async verify(
    chunk: Chunk,
    locate: () => Promise<Buffer | undefined>,
    signal: AbortSignal,
  ): Promise<Fault | undefined> {
    const buffer = isSmall(chunk)
      ? Buffer.allocUnsafe(chunk.bytes)
      : await this.#outgoing.take(signal);
    try {
      await this.#load(chunk, await locate(), buffer, async () => [await locate()]);
      return await this.#verifyHeader(chunk, await locate());
    } catch (error) {
      if (error instanceof Fault && error.code === "object_corrupted") return error;
      throw error;
    } finally {
      if (!isSmall(chunk)) this.#outgoing.give(buffer);
    }
  }

  /** Compaction goes by what stands before a chunk in its segment. */
  async #verifyHeader(chunk: Chunk, location: Buffer | undefined): Promise<Fault | undefined> {
    if (location === undefined || placeInSegment(location) === undefined) return undefined;
    const right = headerOf(chunk);
    const header = Buffer.alloc(right.length);
    const filled = await this.#segments.read(location, header, "entry");
    if (filled === undefined || header.equals(right)) return undefined;
    return corrupted(chunk, "has a damaged header before it in its segment");
  }

  #read(chunk: Chunk, location: Buffer | undefined, bytes: Buffer): Promise<number | undefined> {
    if (location === undefined) return Promise.resolve(undefined);
    return placeInSegment(location) === undefined
      ? this.#blobs.read(blobName(chunk.hash, location), bytes)
      : this.#segments.read(location, bytes);
  }

  /**
   * Reads a chunk into a buffer of at least its size, and verifies it (O2).
   * `location` is undefined if nobody knows it.
   * Errors: `object_corrupted`, naming the chunk, if it is gone or not what was stored.
   */
  async #load(
    chunk: Chunk,
    location: Buffer | undefined,
    buffer: Buffer,
    locate: () => Promise<readonly (Buffer | undefined)[]>,
  ): Promise<Buffer> {
    const bytes = buffer.subarray(0, chunk.bytes);
    // Compaction may have moved it since it was looked up.
    const filled =
      (await this.#read(chunk, location, bytes)) ??
      (await this.#read(chunk, (await locate())[0], bytes));
    if (filled === undefined) throw corrupted(chunk, "is missing");
    if (filled !== chunk.bytes || !hashOf(bytes).equals(chunk.hash)) {
      throw corrupted(chunk, "does not match its hash");
    }
    return bytes;
  }

  /**
   * The bytes of slices of chunks, one after the other, each chunk verified
   * before any of it is handed out. `first` is where the first one lies, if that
   * is known; `locate` looks up the ones from an index on. What is yielded is good until the next is
   * asked for: its memory is used again. Errors: `object_corrupted`.
   */
  async *stream(
    slices: readonly ChunkSlice[],
    first: Buffer | undefined,
    locate: (from: number) => Promise<readonly (Buffer | undefined)[]>,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer> {
    let locations: readonly (Buffer | undefined)[] = first === undefined ? [] : [first];
    let locatedFrom = 0;
    const start = async (index: number, buffer: Buffer | undefined): Promise<Loaded> => {
      const { chunk } = slices[index] as ChunkSlice;
      const memory = buffer ?? Buffer.allocUnsafeSlow(chunk.bytes);
      try {
        if (index >= locatedFrom + locations.length) {
          locations = await locate(index);
          locatedFrom = index;
        }
        const location = locations[index - locatedFrom];
        return { bytes: await this.#load(chunk, location, memory, () => locate(index)), buffer };
      } catch (error) {
        if (buffer !== undefined) this.#outgoing.give(buffer);
        throw error;
      }
    };
    let ahead: Promise<Loaded> | undefined;
    try {
      for (const [index, { chunk, from, to }] of slices.entries()) {
        const loading =
          ahead ?? start(index, isSmall(chunk) ? undefined : await this.#outgoing.take(signal));
        ahead = undefined;
        const { bytes, buffer } = await loading;
        try {
          const following = slices[index + 1];
          const spare =
            following === undefined || isSmall(following.chunk)
              ? undefined
              : this.#outgoing.tryTake();
          if (spare !== undefined) {
            ahead = start(index + 1, spare);
            // Its failure is thrown in its turn.
            ahead.catch(() => undefined);
          }
          for (let at = from; at < to; at += pieceBytes) {
            yield bytes.subarray(at, Math.min(at + pieceBytes, to));
          }
        } finally {
          if (buffer !== undefined) this.#outgoing.give(buffer);
        }
      }
    } finally {
      const { buffer } = (await ahead?.catch(() => undefined)) ?? {};
      if (buffer !== undefined) this.#outgoing.give(buffer);
    }
  }
}

/** A chunk that was read and verified, and the shared buffer that it lies in. */
interface Loaded {
  bytes: Buffer;
  buffer: Buffer | undefined;
}

/** Small chunks take memory of their own, and never wait for a shared buffer. */
function isSmall(chunk: Chunk): boolean {
  return chunk.bytes <= smallBytes;
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function tooLong({ maxBytes, expectedBytes }: IngestLimits): Fault {
  return expectedBytes !== undefined && expectedBytes <= maxBytes
    ? new Fault(
        "invalid_argument",
        `the body is longer than the ${expectedBytes} bytes announced`,
        {
          field: "body",
        },
      )
    : new Fault("payload_too_large", "the object is too large", {
        field: "body",
        help: `at most ${maxBytes} bytes are accepted`,
      });
}

function corrupted(chunk: Chunk, what: string): Fault {
  return new Fault("object_corrupted", `chunk ${chunk.hash.toString("hex")} ${what}`, {
    help: "restore the object from another copy; a scrub finds what else is damaged",
  });
}
