/**
 * Copies chunks from one backend to another, each once, verified on the way. It
 * reads a bounded number at once, whatever it is asked for.
 */
import type { Blobs } from "../chunks/blobs.ts";
import { ChunkBuffers } from "../chunks/buffers.ts";
import { blobName, hashOf, locationBytes, type Chunk } from "../chunks/chunk.ts";
import { smallBytes } from "../chunks/chunks.ts";
import type { Segments } from "../chunks/segments.ts";

const bufferBytes = 48 << 20;

/** Fills a buffer with a chunk's bytes; returns how many, or undefined if it is not there. */
export type ReadChunk = (chunk: Chunk, target: Buffer) => Promise<number | undefined>;

/** Where a chunk that is lost lies: nowhere. */
const nowhere = Buffer.alloc(locationBytes, 0xff).toString("latin1");

export interface Copied {
  chunks: number;
  bytes: number;
  /** Chunks that were there already. */
  known: number;
  /** Hashes of chunks that are missing or not what they should be, in hex. */
  damaged: string[];
}

export class Copier {
  readonly #read: ReadChunk;
  readonly #target: { readonly blobs: Blobs; readonly segments: Segments };
  readonly #newLocation: () => Buffer;
  readonly #signal: AbortSignal;
  readonly #buffers = new ChunkBuffers(bufferBytes);
  /** Locations at the target, by hash; both as Latin-1, which takes a byte a byte. */
  readonly #locations: Map<string, string>;
  readonly #underWay = new Map<string, Promise<string>>();
  readonly copied: Copied = { chunks: 0, bytes: 0, known: 0, damaged: [] };

  /** `known`: what the target has already. `newLocation`: for a blob of its own. */
  constructor(deps: {
    read: ReadChunk;
    target: { readonly blobs: Blobs; readonly segments: Segments };
    known: Map<string, string>;
    newLocation: () => Buffer;
    signal: AbortSignal;
  }) {
    this.#read = deps.read;
    this.#target = deps.target;
    this.#locations = deps.known;
    this.#newLocation = deps.newLocation;
    this.#signal = deps.signal;
  }

  /** Sees to it that the target has these chunks; returns where they lie there. */
  async copyAll(chunks: readonly Chunk[]): Promise<Buffer> {
    const locations = await Promise.all(chunks.map((chunk) => this.#copy(chunk)));
    return Buffer.from(locations.join(""), "latin1");
  }

  async #copy(chunk: Chunk): Promise<string> {
    const hash = chunk.hash.toString("latin1");
    const known = this.#locations.get(hash) ?? this.#underWay.get(hash);
    if (known !== undefined) {
      this.copied.known++;
      return known;
    }
    const copying = this.#transfer(chunk).finally(() => this.#underWay.delete(hash));
    this.#underWay.set(hash, copying);
    const location = await copying;
    this.#locations.set(hash, location);
    return location;
  }

  async #transfer(chunk: Chunk): Promise<string> {
    const buffer = await this.#buffers.take(this.#signal);
    try {
      const bytes = buffer.subarray(0, chunk.bytes);
      const filled = await this.#read(chunk, bytes);
      if (filled !== chunk.bytes || !hashOf(bytes).equals(chunk.hash)) {
        this.copied.damaged.push(chunk.hash.toString("hex"));
        return nowhere;
      }
      const location = await this.#store(chunk, bytes);
      this.copied.chunks++;
      this.copied.bytes += chunk.bytes;
      return location.toString("latin1");
    } finally {
      this.#buffers.give(buffer);
    }
  }

  async #store(chunk: Chunk, bytes: Buffer): Promise<Buffer> {
    const { blobs, segments } = this.#target;
    if (chunk.bytes <= smallBytes) {
      const location = await segments.append(chunk.hash, Buffer.from(bytes));
      segments.settle(location);
      return location;
    }
    const location = this.#newLocation();
    await blobs.write(blobName(chunk.hash, location), bytes);
    return location;
  }
}
