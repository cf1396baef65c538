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
import { blobName, chunkBytes, hashOf, newBlobLocation } from "./chunk.ts";
import type { Chunk, PlacedChunk } from "./chunk.ts";

/** Most chunks of one stream that are being written at once. */
const inFlightPerStream = 4;
/** Objects up to this size take no buffer of a chunk. */
const smallBytes = 64 << 10;

export type Body = AsyncIterable<Uint8Array>;

export interface IngestLimits {
  maxBytes: number;
  /** What the client announced; anything else is refused. */
  expectedBytes?: number | undefined;
}

export interface Ingested {
  readonly chunks: readonly PlacedChunk[];
  readonly bytes: number;
  readonly sha256: Buffer;
}

/** One stream on its way in. */
class Ingest {
  readonly placed: Promise<PlacedChunk>[] = [];
  readonly sha256 = createHash("sha256");
  bytes = 0;
  readonly #inFlight = new Set<Promise<unknown>>();
  readonly #byHash = new Map<string, Promise<PlacedChunk>>();
  readonly #blobs: Blobs;
  #failure: { error: unknown } | undefined;

  constructor(blobs: Blobs) {
    this.#blobs = blobs;
  }

  /** Starts to write a chunk; `done` is called when `bytes` may be reused. */
  async add(bytes: Buffer, done: () => void): Promise<void> {
    while (this.#inFlight.size >= inFlightPerStream) await Promise.race(this.#inFlight);
    if (this.#failure !== undefined) {
      done();
      throw this.#failure.error;
    }
    this.bytes += bytes.byteLength;
    this.sha256.update(bytes);
    const hash = hashOf(bytes);
    const name = hash.toString("base64");
    let placed = this.#byHash.get(name);
    if (placed !== undefined) {
      this.placed.push(placed);
      done();
      return;
    }
    const location = newBlobLocation();
    placed = this.#blobs
      .write(blobName(hash, location), bytes)
      .then(() => ({ hash, bytes: bytes.byteLength, location }));
    this.#byHash.set(name, placed);
    this.placed.push(placed);
    const watched = placed
      .catch((error: unknown) => (this.#failure ??= { error }))
      .finally(() => {
        done();
        this.#inFlight.delete(watched);
      });
    this.#inFlight.add(watched);
  }

  async settle(): Promise<PromiseSettledResult<PlacedChunk>[]> {
    await Promise.all(this.#inFlight);
    return Promise.allSettled(this.placed);
  }
}

export class Chunks {
  readonly #blobs: Blobs;
  readonly #buffers: ChunkBuffers;
  readonly #log: Log;

  constructor(blobs: Blobs, bufferBytes: number, log: Log) {
    this.#blobs = blobs;
    this.#buffers = new ChunkBuffers(bufferBytes);
    this.#log = log;
  }

  /**
   * Stores a stream as chunks, each durable by the time this resolves. When it
   * rejects, nothing is left. Errors: `invalid_argument` (not the announced
   * size), `payload_too_large`, `store_full`, and what the stream throws.
   */
  async ingest(body: Body, limits: IngestLimits, signal: AbortSignal): Promise<Ingested> {
    const ingest = new Ingest(this.#blobs);
    try {
      await this.#fill(ingest, body, limits, signal);
      return {
        chunks: await Promise.all(ingest.placed),
        bytes: ingest.bytes,
        sha256: ingest.sha256.digest(),
      };
    } catch (error) {
      const settled = await ingest.settle();
      await this.discard(settled.flatMap((one) => (one.status === "fulfilled" ? one.value : [])));
      throw error;
    }
  }

  async #fill(ingest: Ingest, body: Body, limits: IngestLimits, signal: AbortSignal) {
    const most = Math.min(limits.maxBytes, limits.expectedBytes ?? Number.MAX_SAFE_INTEGER);
    const small: Uint8Array[] = [];
    let buffer: Buffer | undefined;
    let filled = 0;
    let total = 0;
    const flush = async () => {
      const full = buffer;
      const size = filled;
      buffer = undefined;
      filled = 0;
      if (full !== undefined && size > 0) {
        await ingest.add(full.subarray(0, size), () => this.#buffers.give(full));
      } else if (full !== undefined) this.#buffers.give(full);
    };
    const append = async (piece: Uint8Array) => {
      for (let at = 0; at < piece.byteLength;) {
        buffer ??= await this.#buffers.take(signal);
        const taken = Math.min(chunkBytes - filled, piece.byteLength - at);
        buffer.set(piece.subarray(at, at + taken), filled);
        filled += taken;
        at += taken;
        if (filled === chunkBytes) await flush();
      }
    };
    try {
      for await (const piece of body) {
        signal.throwIfAborted();
        total += piece.byteLength;
        if (total > most) throw tooLong(limits);
        if (total <= smallBytes) {
          small.push(piece);
          continue;
        }
        for (const kept of small.splice(0)) await append(kept);
        await append(piece);
      }
      if (limits.expectedBytes !== undefined && total !== limits.expectedBytes) {
        throw new Fault(
          "invalid_argument",
          `the body has ${total} bytes, not the ${limits.expectedBytes} announced`,
          { field: "body" },
        );
      }
      if (small.length > 0) await ingest.add(Buffer.concat(small), () => undefined);
      await flush();
    } finally {
      if (buffer !== undefined) this.#buffers.give(buffer);
    }
  }

  /** Removes chunks that no commit has named and none ever will. */
  async discard(chunks: readonly PlacedChunk[]): Promise<void> {
    for (const chunk of chunks) {
      await this.#blobs.remove(blobName(chunk.hash, chunk.location)).catch((error: unknown) => {
        this.#log.warn({ err: error }, "can't remove a chunk; the next sweep will");
      });
    }
  }

  /**
   * A chunk's bytes, verified (O2). `location` is undefined if nobody knows it.
   * Errors: `object_corrupted`, naming the chunk, if they are gone or not what was stored.
   */
  async read(chunk: Chunk, location: Buffer | undefined): Promise<Buffer> {
    const bytes = location && (await this.#blobs.read(blobName(chunk.hash, location)));
    if (bytes === undefined) throw corrupted(chunk, "is missing");
    if (bytes.byteLength !== chunk.bytes || !hashOf(bytes).equals(chunk.hash)) {
      throw corrupted(chunk, "does not match its hash");
    }
    return bytes;
  }
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
