/**
 * The port of what keeps small chunks, many to a segment. A segment is written
 * once and never changed; its number is never used twice. Entries of a segment
 * look the same wherever it lies:
 *
 * u32 magic, u32 size, 32 bytes of hash, the bytes.
 */
import {
  hashBytes,
  hashOf,
  placeInSegment,
  segmentLocation,
  type Chunk,
  type PlacedChunk,
} from "./chunk.ts";

const magic = 0x53_70_53_31;
export const headerBytes = 8 + hashBytes;
/** Most bytes that are written at once, but for the last entry of them. */
export const batchBytes = 4 << 20;

export interface SmallChunk {
  readonly hash: Buffer;
  readonly bytes: Buffer;
}

/** An entry as it was found. */
export interface SegmentEntry extends PlacedChunk {
  readonly data: Buffer;
  /** The data are what the hash says. */
  readonly intact: boolean;
}

export interface Segments extends AsyncDisposable {
  /** Segments smaller than this are worth being put together, in bytes. */
  readonly mergeBelowBytes: number;
  /**
   * Appends a chunk; once it resolves, the chunk survives loss of power. Its
   * segment stays until `settle`. Errors: `store_full`, `too_many_requests`.
   */
  append(hash: Buffer, bytes: Buffer): Promise<Buffer>;
  /** The commit of an appended chunk was made or given up. */
  settle(location: Buffer): void;
  /**
   * Reads the chunk at a location into `target`, or the entry with its header before
   * it. Returns the bytes read, or undefined if the segment is gone.
   */
  read(location: Buffer, target: Buffer, what?: "chunk" | "entry"): Promise<number | undefined>;
  /** Segments that nothing is appended to any more and no commit is awaited in. */
  sealed(): Promise<{ segment: number; bytes: number }[]>;
  /** The whole entries of a segment, up to where it was cut off or damaged. */
  entries(segment: number): AsyncGenerator<SegmentEntry>;
  /** Removes a segment; what it held must have been moved or be of no use. */
  remove(segment: number): Promise<void>;
}

/** What stands before a chunk. */
export function headerOf({ hash, bytes }: Chunk): Buffer {
  const header = Buffer.alloc(headerBytes);
  const at = header.writeUInt32BE(bytes, header.writeUInt32BE(magic, 0));
  hash.copy(header, at);
  return header;
}

/** Bytes that a batch takes in a segment. */
export function sizeOfEntries(batch: readonly SmallChunk[]): number {
  return batch.reduce((sum, { bytes }) => sum + headerBytes + bytes.length, 0);
}

/** Chunks as entries of a segment from an offset on, and where each will lie. */
export function encodeEntries(
  batch: readonly SmallChunk[],
  segment: number,
  offset: number,
): { bytes: Buffer; locations: Buffer[] } {
  const out = Buffer.allocUnsafe(sizeOfEntries(batch));
  const locations: Buffer[] = [];
  let at = 0;
  for (const { hash, bytes } of batch) {
    locations.push(segmentLocation(segment, offset + at));
    at += headerOf({ hash, bytes: bytes.length }).copy(out, at);
    at += bytes.copy(out, at);
  }
  return { bytes: out, locations };
}

/** Entries that `read` gives of a segment; it fills a buffer from an offset on, as far as it goes. */
export async function* readEntries(
  segment: number,
  read: (target: Buffer, offset: number) => Promise<number>,
): AsyncGenerator<SegmentEntry> {
  const header = Buffer.alloc(headerBytes);
  for (let offset = 0; ;) {
    if ((await read(header, offset)) < headerBytes || header.readUInt32BE(0) !== magic) return;
    const bytes = header.readUInt32BE(4);
    if (bytes > batchBytes) return;
    const data = Buffer.allocUnsafe(bytes);
    if ((await read(data, offset + headerBytes)) < bytes) return;
    const hash = Buffer.from(header.subarray(8));
    yield {
      hash,
      bytes,
      location: segmentLocation(segment, offset),
      data,
      intact: hashOf(data).equals(hash),
    };
    offset += headerBytes + bytes;
  }
}

/** Chunks that were appended but neither committed nor given up, by segment. */
export class Pending {
  readonly #counts = new Map<number, number>();

  add(segment: number, chunks: number): void {
    this.#counts.set(segment, (this.#counts.get(segment) ?? 0) + chunks);
  }

  settle(location: Buffer): void {
    const place = placeInSegment(location);
    if (place === undefined) return;
    const left = (this.#counts.get(place.segment) ?? 0) - 1;
    if (left > 0) this.#counts.set(place.segment, left);
    else this.#counts.delete(place.segment);
  }

  has(segment: number): boolean {
    return this.#counts.has(segment);
  }
}
