/** Checksums that a client may send with its bytes, beside or behind them. */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { Crc64Nvme } from "@aws-sdk/crc64-nvme";
import { crc32c } from "@node-rs/crc32";
import { S3Error } from "./errors.ts";

export interface Checksum {
  update(piece: Uint8Array): void;
  /** In base64, as it travels. */
  digest(): Promise<string>;
}

function crc(step: (piece: Uint8Array, before: number) => number): () => Checksum {
  return () => {
    let value = 0;
    return {
      update: (piece) => (value = step(piece, value)),
      digest: async () => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32BE(value);
        return bytes.toString("base64");
      },
    };
  };
}

function hash(name: "sha1" | "sha256"): () => Checksum {
  return () => {
    const running = createHash(name);
    return {
      update: (piece) => running.update(piece),
      digest: async () => running.digest("base64"),
    };
  };
}

function crc64(): Checksum {
  const running = new Crc64Nvme();
  return {
    update: (piece) => running.update(piece),
    digest: async () => Buffer.from(await running.digest()).toString("base64"),
  };
}

const prefix = "x-amz-checksum-";

/** Header → how it is made, and its length in bytes. */
const kinds: Readonly<Record<string, { make: () => Checksum; bytes: number }>> = {
  [`${prefix}crc32`]: { make: crc((piece, before) => crc32(piece, before)), bytes: 4 },
  [`${prefix}crc32c`]: {
    make: crc((piece, before) =>
      crc32c(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength), before),
    ),
    bytes: 4,
  },
  [`${prefix}crc64nvme`]: { make: crc64, bytes: 8 },
  [`${prefix}sha1`]: { make: hash("sha1"), bytes: 20 },
  [`${prefix}sha256`]: { make: hash("sha256"), bytes: 32 },
};

/** The checksum that a request announces by a header, or by the name of a trailer. */
export function announcedChecksum(
  headers: Headers,
): { header: string; running: Checksum; expected: string | undefined } | undefined {
  const trailer = headers.get("x-amz-trailer")?.trim().toLowerCase();
  for (const [header, { make, bytes }] of Object.entries(kinds)) {
    const expected = headers.get(header);
    if (expected !== null) {
      return { header, running: make(), expected: checkedDigest(header, expected, bytes) };
    }
    if (trailer === header) return { header, running: make(), expected: undefined };
  }
  if (trailer?.startsWith(prefix) === true) {
    throw new S3Error("InvalidRequest", `There is no checksum ${trailer}.`);
  }
  return undefined;
}

/** A digest in base64 of that many bytes. Errors: `InvalidRequest`. */
function checkedDigest(header: string, value: string, bytes: number): string {
  if (Buffer.from(value, "base64").length === bytes) return value;
  throw new S3Error("InvalidRequest", `Value for ${header} header is invalid.`);
}
