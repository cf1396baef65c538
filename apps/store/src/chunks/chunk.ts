/**
 * Chunks: the immutable pieces that objects are made of, named by the BLAKE3 of
 * their bytes. Where a chunk lies is its location, and a location is never used
 * twice: what is written is new, so removing an old one can't hurt a new one.
 */
import { blake3 } from "@napi-rs/blake-hash";
import { randomBytes } from "node:crypto";

/** Bytes of every chunk of a plain put but the last. */
export const chunkBytes = 8 << 20;
export const hashBytes = 32;
/** A kind and eight bytes that the kind gives meaning to. */
export const locationBytes = 9;

export interface Chunk {
  /** BLAKE3 of the bytes. */
  readonly hash: Buffer;
  readonly bytes: number;
}

/** A chunk that lies somewhere. */
export interface PlacedChunk extends Chunk {
  readonly location: Buffer;
}

/** A blob of its own under a nonce; or a place in a segment: u32 number, u32 offset. */
export const locationKind = { blob: 0, segment: 1 } as const;

export function hashOf(bytes: Uint8Array): Buffer {
  return blake3(bytes);
}

/** A location for a blob of its own. */
export function newBlobLocation(): Buffer {
  const location = randomBytes(locationBytes);
  location[0] = locationKind.blob;
  return location;
}

/** Name of the blob with this hash at this location, as `<hash>.<nonce>` in hex. */
export function blobName(hash: Buffer, location: Buffer): string {
  return `${hash.toString("hex")}.${location.toString("hex", 1)}`;
}

export function segmentLocation(segment: number, offset: number): Buffer {
  const location = Buffer.alloc(locationBytes);
  location[0] = locationKind.segment;
  location.writeUInt32BE(segment, 1);
  location.writeUInt32BE(offset, 5);
  return location;
}

/** The place in a segment that a location names; undefined for a blob. */
export function placeInSegment(location: Buffer): { segment: number; offset: number } | undefined {
  if (location[0] !== locationKind.segment) return undefined;
  return { segment: location.readUInt32BE(1), offset: location.readUInt32BE(5) };
}
