/**
 * The journal's files: framed records, each with its checksum, so that a record
 * that a crash cut off is seen and what stands before it is whole.
 *
 * A record is: u32 size of the rest, u32 CRC-32 of it, u64 generation, then for
 * every field and every value: u32 size, bytes.
 */
import { open } from "node:fs/promises";

const frameBytes = 8;
const largestBytes = 256 << 20;

export interface JournalRecord {
  readonly generation: number;
  /** Names and values as they stand in the event. */
  readonly fields: ReadonlyMap<string, Buffer>;
}

export function encodeJournalRecord(generation: number, flat: readonly Buffer[]): Buffer {
  const size = flat.reduce((sum, value) => sum + 4 + value.length, 8);
  const out = Buffer.allocUnsafe(frameBytes + size);
  out.writeUInt32BE(size, 0);
  let at = out.writeBigUInt64BE(BigInt(generation), frameBytes);
  for (const value of flat) {
    at = out.writeUInt32BE(value.length, at);
    at += value.copy(out, at);
  }
  out.writeUInt32BE(Bun.hash.crc32(out.subarray(frameBytes)), 4);
  return out;
}

function decodeJournalRecord(payload: Buffer): JournalRecord {
  const fields = new Map<string, Buffer>();
  let at = 8;
  const next = (): Buffer => {
    const length = payload.readUInt32BE(at);
    const value = payload.subarray(at + 4, at + 4 + length);
    at += 4 + length;
    return value;
  };
  while (at < payload.length) fields.set(next().toString(), next());
  return { generation: Number(payload.readBigUInt64BE(0)), fields };
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
      const size = frame.readUInt32BE(0);
      if (head.bytesRead < frameBytes || size < 8 || size > largestBytes) return;
      const payload = Buffer.allocUnsafe(size);
      const body = await file.read(payload, 0, size, at + frameBytes);
      if (body.bytesRead < size || Bun.hash.crc32(payload) !== frame.readUInt32BE(4)) return;
      at += frameBytes + size;
      yield { ...decodeJournalRecord(payload), end: at };
    }
  } finally {
    await file.close();
  }
}
