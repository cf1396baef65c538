/**
 * The file of a cached object: its bytes, then what proves them. Nothing of it is
 * synced: every block is verified when it is read, so a file that a power loss or a
 * bad disk has damaged is noticed before a byte of it leaves (O2).
 *
 *   the object's bytes
 *   BLAKE3 of each block of 1 MiB, 32 bytes each
 *   the object's metadata as JSON
 *   BLAKE3 of hashes and metadata
 *   u32 length of the metadata, big-endian
 */
import { blake3 } from "@napi-rs/blake-hash";
import { constants, openSync, closeSync, readSync, fstatSync } from "node:fs";
import { copyFile, open, rm, truncate, type FileHandle } from "node:fs/promises";
import { Fault } from "@spear/shared/fault.ts";
import type { ByteRange, ObjectInfo } from "@spear/shared/store/schema.ts";

const blockBytes = 1 << 20;
const hashBytes = 32;
const lengthBytes = 4;
/** Far above what metadata can be. */
const maxInfoBytes = 1 << 20;

/** The file is not what was written. */
export class DamagedEntry extends Error {}

/**
 * Writes an object's file. Throws `unavailable` if the bytes are not the object's, what
 * `body` throws, and system errors.
 */
export async function writeEntry(
  path: string,
  info: ObjectInfo,
  body: AsyncIterable<Uint8Array>,
): Promise<void> {
  const whole = new Bun.CryptoHasher("sha256");
  const hashes: Buffer[] = [];
  const block = Buffer.allocUnsafe(Math.min(blockBytes, info.sizeBytes));
  let filled = 0;
  let written = 0;
  const file = await open(path, "wx", 0o600);
  const flush = async () => {
    const bytes = block.subarray(0, filled);
    hashes.push(blake3(bytes));
    await file.writeFile(bytes);
    written += filled;
    filled = 0;
  };
  try {
    for await (const piece of body) {
      whole.update(piece);
      for (let at = 0; at < piece.byteLength;) {
        const part = piece.subarray(at, at + block.length - filled);
        if (part.byteLength === 0) throw new Fault("unavailable", `${info.id} is too long`);
        block.set(part, filled);
        filled += part.byteLength;
        at += part.byteLength;
        if (filled === block.length && written + filled <= info.sizeBytes) await flush();
      }
    }
    if (filled > 0) await flush();
    if (written !== info.sizeBytes || !matches(info, whole.digest("hex"))) {
      throw new Fault("unavailable", `${info.id} did not arrive as it is stored`);
    }
    await file.writeFile(footerOf(info, hashes));
  } finally {
    await file.close();
  }
}

function matches({ sha256 }: ObjectInfo, arrived: string): boolean {
  return sha256 === "" || sha256 === arrived;
}

function footerOf(info: ObjectInfo, hashes: readonly Buffer[]): Buffer {
  const text = Buffer.from(JSON.stringify(info));
  const proven = Buffer.concat([...hashes, text]);
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32BE(text.length);
  return Buffer.concat([proven, blake3(proven), length]);
}

interface Footer {
  info: ObjectInfo;
  hashes: Buffer;
}

/** The footer of a file. Throws `DamagedEntry`. */
function readFooter(fd: number): Footer {
  const { size } = fstatSync(fd);
  const at = (position: number, length: number): Buffer => {
    const buffer = Buffer.alloc(length);
    if (position < 0 || readSync(fd, buffer, 0, length, position) !== length) {
      throw new DamagedEntry("it is too short");
    }
    return buffer;
  };
  const infoBytes = at(size - lengthBytes, lengthBytes).readUInt32BE();
  const proofAt = size - lengthBytes - hashBytes;
  if (infoBytes > maxInfoBytes) throw new DamagedEntry("its footer is damaged");
  const text = at(proofAt - infoBytes, infoBytes);
  const sizeBytes = sizeIn(text);
  const hashesBytes = Math.ceil(sizeBytes / blockBytes) * hashBytes;
  if (sizeBytes + hashesBytes !== proofAt - infoBytes) {
    throw new DamagedEntry("its size is not what its footer says");
  }
  const hashes = at(sizeBytes, hashesBytes);
  if (!blake3(Buffer.concat([hashes, text])).equals(at(proofAt, hashBytes))) {
    throw new DamagedEntry("its footer is damaged");
  }
  return { info: JSON.parse(text.toString()) as ObjectInfo, hashes };
}

function sizeIn(text: Buffer): number {
  try {
    return (JSON.parse(text.toString()) as ObjectInfo).sizeBytes;
  } catch {
    throw new DamagedEntry("its footer is damaged");
  }
}

/** The metadata that a file carries; undefined if it is no whole entry. */
export function infoIn(path: string): ObjectInfo | undefined {
  try {
    const fd = openSync(path, "r");
    try {
      return readFooter(fd).info;
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

/** The bytes of a range, a block at a time, each verified. Throws `DamagedEntry`. */
export async function* readEntry(path: string, range: ByteRange): AsyncGenerator<Uint8Array> {
  const file = await open(path, "r");
  try {
    const { info, hashes } = readFooter(file.fd);
    yield* verified(file, hashes, info.sizeBytes, range);
  } finally {
    await file.close();
  }
}

async function* verified(
  file: FileHandle,
  hashes: Buffer,
  sizeBytes: number,
  { start, end }: ByteRange,
): AsyncGenerator<Uint8Array> {
  for (let block = Math.floor(start / blockBytes); block * blockBytes < end; block += 1) {
    const at = block * blockBytes;
    const length = Math.min(blockBytes, sizeBytes - at);
    const bytes = Buffer.allocUnsafe(length);
    const { bytesRead } = await file.read(bytes, 0, length, at);
    const hash = hashes.subarray(block * hashBytes, (block + 1) * hashBytes);
    if (bytesRead !== length || !blake3(bytes).equals(hash)) {
      throw new DamagedEntry(`block ${block} is damaged`);
    }
    yield bytes.subarray(Math.max(start, at) - at, Math.min(end, at + length) - at);
  }
}

/**
 * Copies the object's bytes to a path where nothing is, sharing them on disk where the
 * file system can: what is done to the copy never reaches the cache. The copy itself is
 * verified. Throws `DamagedEntry` and leaves nothing, and system errors.
 */
export async function copyEntry(path: string, target: string, mode: number): Promise<void> {
  const source = await open(path, "r");
  try {
    const { info, hashes } = readFooter(source.fd);
    await copyFile(path, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await truncate(target, info.sizeBytes);
    const copy = await open(target, "r");
    try {
      const range = { start: 0, end: info.sizeBytes };
      for await (const _ of verified(copy, hashes, info.sizeBytes, range));
      await copy.chmod(mode);
    } finally {
      await copy.close();
    }
  } catch (error) {
    if (error instanceof DamagedEntry) await rm(target, { force: true });
    throw error;
  } finally {
    await source.close();
  }
}
