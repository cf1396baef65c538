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

export const locationKind = { blob: 0 } as const;

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
