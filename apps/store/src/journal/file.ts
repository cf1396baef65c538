/**
 * The journal's files: framed records, each with its checksum, so that a record
 * that a crash cut off is seen and what stands before it is whole.
 *
 * A record is: u32 size of the rest, with the highest bit set in the first record
 * of a batch, u32 CRC-32 of the rest, u64 generation, then for every field and every
 * value: u32 size, bytes. A batch is begun when the one before it was synced, so
 * what is cut off by a crash is within the last batch: anything else is damage.
 */
import { open } from "node:fs/promises";

const frameBytes = 8;
const largestBytes = 256 << 20;
const firstOfBatch = 0x8000_0000;

export interface JournalRecord {
  readonly generation: number;
  readonly fields: ReadonlyMap<string, Buffer>;
  /** The fields as the event has them. */
  readonly packed: Buffer;
}

/** Names and values as an event has them. */
export function packFields(fields: Readonly<Record<string, string | number | Buffer>>): Buffer {
  const pieces = Object.entries(fields).flatMap(([name, value]) =>
    [name, value].flatMap((one) => {
      const bytes = Buffer.isBuffer(one) ? one : Buffer.from(String(one));
      const size = Buffer.alloc(4);
      size.writeUInt32BE(bytes.length);
      return [size, bytes];
    }),
  );
  return Buffer.concat(pieces);
}

/** `first`: it begins a batch. */
export function encodeJournalRecord(generation: number, packed: Buffer, first = false): Buffer {
  const size = 8 + packed.length;
  const out = Buffer.allocUnsafe(frameBytes + size);
  out.writeUInt32BE(first ? size + firstOfBatch : size, 0);
  packed.copy(out, out.writeBigUInt64BE(BigInt(generation), frameBytes));
  out.writeUInt32BE(Bun.hash.crc32(out.subarray(frameBytes)), 4);
  return out;
}

/** The fields of an event, which `packFields` has packed. */
export function recordOf(generation: number, packed: Buffer): JournalRecord {
  const fields = new Map<string, Buffer>();
  let at = 0;
  const next = (): Buffer => {
    const length = packed.readUInt32BE(at);
    const value = packed.subarray(at + 4, at + 4 + length);
    at += 4 + length;
    return value;
  };
  while (at < packed.length) fields.set(next().toString(), next());
  return { generation, fields, packed };
}

/** The whole records of a file with the offset behind each; ends at the first that is not whole. */
export async function* journalRecords(
  path: string,
): AsyncGenerator<JournalRecord & { end: number }> {
  const file = await open(path, "r");
  try {
    const frame = Buffer.alloc(frameBytes);
    for (let at = 0; ;) {
      const head = await file.read(frame, 0, frameBytes, at);
      const size = frame.readUInt32BE(0) % firstOfBatch;
      if (head.bytesRead < frameBytes || size < 8 || size > largestBytes) return;
      const payload = Buffer.allocUnsafe(size);
      const body = await file.read(payload, 0, size, at + frameBytes);
      if (body.bytesRead < size || Bun.hash.crc32(payload) !== frame.readUInt32BE(4)) return;
      at += frameBytes + size;
      yield {
        ...recordOf(Number(payload.readBigUInt64BE(0)), payload.subarray(8)),
        end: at,
      };
    }
  } finally {
    await file.close();
  }
}

/**
 * True if a file that is not whole behind `end` was not just cut off there by a
 * crash: a batch was begun behind it.
 */
export async function isDamagedBehind(path: string, end: number): Promise<boolean> {
  const bytes = Buffer.from(await Bun.file(path).slice(end).arrayBuffer());
  for (let at = 1; at + frameBytes < bytes.length; at++) {
    const word = bytes.readUInt32BE(at);
    const size = word - firstOfBatch;
    if (size < 8 || at + frameBytes + size > bytes.length) continue;
    const payload = bytes.subarray(at + frameBytes, at + frameBytes + size);
    if (Bun.hash.crc32(payload) === bytes.readUInt32BE(at + 4)) return true;
  }
  return false;
}
