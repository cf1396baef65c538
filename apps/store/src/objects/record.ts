/**
 * An object's record as Redis keeps it: a few hundred bytes of binary. Scripts
 * read and write the same layout (see lib.lua); all numbers are big-endian.
 *
 *   u32 names   how many names point at it
 *   u8  flags   1 pinned, 2 has references
 *   u64 size
 *   u8+ sha256  raw, or empty where it is not known
 *   u8+ etag    empty where it is the SHA-256 in hex
 *   u8+ bucket  one of the names; empty if there is none
 *   u16+ key
 *   u16+ attributes: media type; behind NUL JSON of the metadata, behind another NUL
 *        JSON of headers and tags, where there are any
 *   the rest    chunks: 32 bytes of hash, u32 of size
 */
import type { ObjectId } from "@spear/shared/ids.ts";
import { hashBytes, type Chunk } from "../chunks/chunk.ts";
import { defaultContentType, type Attributes } from "./attributes.ts";

const chunkEntryBytes = hashBytes + 4;
const pinnedFlag = 1;
const refsFlag = 2;

export interface ObjectRecord extends Attributes {
  readonly names: number;
  readonly pinned: boolean;
  readonly hasRefs: boolean;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly etag: string;
  readonly bucket: string;
  readonly key: string;
  readonly chunks: readonly Chunk[];
}

const isEmpty = (values: Record<string, string>) => Object.keys(values).length === 0;

export function encodeAttributes({ contentType, metadata, headers, tags }: Attributes): Buffer {
  const parts = [
    contentType === defaultContentType ? "" : contentType,
    isEmpty(metadata) ? "" : JSON.stringify(metadata),
    isEmpty(headers) && isEmpty(tags) ? "" : JSON.stringify({ headers, tags }),
  ];
  while (parts.at(-1) === "") parts.pop();
  return Buffer.from(parts.join("\0"));
}

function decodeAttributes(text: string): Attributes {
  const [contentType = "", metadata = "", rest = ""] = text.split("\0");
  return {
    contentType: contentType === "" ? defaultContentType : contentType,
    metadata: metadata === "" ? {} : (JSON.parse(metadata) as Attributes["metadata"]),
    ...(rest === ""
      ? { headers: {}, tags: {} }
      : (JSON.parse(rest) as Pick<Attributes, "headers" | "tags">)),
  };
}

/** An ETag as records hold it: a SHA-256 in hex is empty, anything else is text. */
export function encodeRecord(record: ObjectRecord): Buffer {
  const sha256 = Buffer.from(record.sha256, "hex");
  const etag = Buffer.from(record.etag === record.sha256 ? "" : record.etag);
  const bucket = Buffer.from(record.bucket);
  const key = Buffer.from(record.key);
  const attributes = encodeAttributes(record);
  const fixed = 4 + 1 + 8 + 1 + 1 + 1 + 2 + 2;
  const variable = sha256.length + etag.length + bucket.length + key.length + attributes.length;
  const out = Buffer.alloc(fixed + variable + record.chunks.length * chunkEntryBytes);
  let at = out.writeUInt32BE(record.names);
  at = out.writeUInt8((record.pinned ? pinnedFlag : 0) | (record.hasRefs ? refsFlag : 0), at);
  at = out.writeBigUInt64BE(BigInt(record.sizeBytes), at);
  for (const [bytes, lengthBytes] of [
    [sha256, 1],
    [etag, 1],
    [bucket, 1],
    [key, 2],
    [attributes, 2],
  ] as const) {
    at = out.writeUIntBE(bytes.length, at, lengthBytes);
    at += bytes.copy(out, at);
  }
  for (const chunk of record.chunks) {
    at += chunk.hash.copy(out, at);
    at = out.writeUInt32BE(chunk.bytes, at);
  }
  return out;
}

export function decodeRecord(bytes: Buffer): ObjectRecord {
  let at = 13;
  const take = (lengthBytes: number): Buffer => {
    const length = bytes.readUIntBE(at, lengthBytes);
    const value = bytes.subarray(at + lengthBytes, at + lengthBytes + length);
    at += lengthBytes + length;
    return value;
  };
  const flags = bytes.readUInt8(4);
  const sha256 = take(1).toString("hex");
  const etag = take(1).toString();
  const bucket = take(1).toString();
  const key = take(2).toString();
  const attributes = decodeAttributes(take(2).toString());
  const chunks: Chunk[] = [];
  for (; at < bytes.length; at += chunkEntryBytes) {
    chunks.push({
      hash: bytes.subarray(at, at + hashBytes),
      bytes: bytes.readUInt32BE(at + hashBytes),
    });
  }
  return {
    names: bytes.readUInt32BE(0),
    pinned: (flags & pinnedFlag) !== 0,
    hasRefs: (flags & refsFlag) !== 0,
    sizeBytes: Number(bytes.readBigUInt64BE(5)),
    sha256,
    etag: etag === "" ? sha256 : etag,
    bucket,
    key,
    ...attributes,
    chunks,
  };
}

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const idPrefix = "obj_";
const idLetters = 26;
const idBytes = 16;

/** An id's 26 letters as 16 bytes, which sort as the letters do. */
export function packId(id: ObjectId): Buffer {
  const bytes = Buffer.allocUnsafe(idBytes);
  // 26 letters of 5 bits are 130: the first has only 3.
  let bits = -2;
  let value = 0;
  for (let letter = 0, at = 0; letter < idLetters; letter++) {
    value = ((value << 5) | alphabet.indexOf(id.charAt(idPrefix.length + letter))) & 0x1fff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = value >> bits;
    }
  }
  return bytes;
}

export function unpackId(bytes: Buffer): ObjectId {
  let letters = idPrefix;
  let bits = 2;
  let value = 0;
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0x1fff;
    bits += 8;
    for (; bits >= 5; bits -= 5) letters += alphabet.charAt((value >> (bits - 5)) & 31);
  }
  return letters as ObjectId;
}

/** When an id was made; milliseconds since 1970. */
export function timeOfId(bytes: Buffer): number {
  return bytes.readUIntBE(0, 6);
}
