/**
 * One stream of an attempt's output, or its order, kept in files of limited size: the newest
 * bytes stay, the oldest file goes, and offsets always count from the first byte
 * that was ever written. A file's name ends with the offset of its first byte.
 */
import { mkdir, open, rm, type FileHandle } from "node:fs/promises";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

interface Segment {
  start: number;
  size: number;
}

const largestSegmentBytes = 16 * 1024 * 1024;
const readBytes = 256 * 1024;

export class StreamLog {
  readonly name: string;
  readonly #dir: string;
  readonly #maxBytes: number;
  readonly #segmentBytes: number;
  readonly #segments: Segment[] = [];
  #writer: FileHandle | undefined;

  /** `maxBytes`: at least this many of the newest bytes are kept, and a quarter more at most. */
  constructor(dir: string, name: string, maxBytes: number) {
    this.#dir = dir;
    this.name = name;
    this.#maxBytes = maxBytes;
    this.#segmentBytes = Math.min(Math.ceil(maxBytes / 4), largestSegmentBytes);
  }

  /** What an earlier run wrote, in whole units: one may have been cut off by its end. */
  static load(dir: string, name: string, maxBytes = Infinity, unitBytes = 1): StreamLog {
    const log = new StreamLog(dir, name, maxBytes);
    const prefix = `${name}.`;
    for (const file of readdirSync(dir)) {
      if (!file.startsWith(prefix)) continue;
      const { size } = statSync(join(dir, file));
      log.#segments.push({
        start: Number(file.slice(prefix.length)),
        size: size - (size % unitBytes),
      });
    }
    log.#segments.sort((a, b) => a.start - b.start);
    return log;
  }

  /** Offset of the oldest byte that is kept. */
  get start(): number {
    return this.#segments[0]?.start ?? 0;
  }

  /** Offset behind the newest byte. */
  get end(): number {
    const last = this.#segments.at(-1);
    return last === undefined ? 0 : last.start + last.size;
  }

  get keptBytes(): number {
    return this.end - this.start;
  }

  #path({ start }: Segment): string {
    return join(this.#dir, `${this.name}.${start}`);
  }

  /** Appends; the caller writes one at a time. */
  async write(bytes: Uint8Array): Promise<void> {
    const surplus = Math.max(0, bytes.byteLength - this.#maxBytes);
    const kept = surplus === 0 ? bytes : bytes.subarray(surplus);
    let segment = this.#segments.at(-1);
    const full = segment === undefined || segment.size >= this.#segmentBytes;
    if (segment === undefined || full || surplus > 0 || this.#writer === undefined) {
      segment = await this.#rotate(this.end + surplus);
    }
    let written = 0;
    while (written < kept.byteLength) {
      const { bytesWritten } = await (this.#writer as FileHandle).write(
        kept,
        written,
        kept.byteLength - written,
      );
      written += bytesWritten;
      segment.size += bytesWritten;
    }
    await this.#trim();
  }

  async #rotate(start: number): Promise<Segment> {
    await this.#writer?.close();
    const segment = { start, size: 0 };
    const last = this.#segments.at(-1);
    if (last === undefined) await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    // An earlier run may have died between opening it and the first byte.
    else if (last.start === start) this.#segments.pop();
    this.#writer = await open(this.#path(segment), "w", 0o600);
    this.#segments.push(segment);
    return segment;
  }

  /** Removes the oldest file while the others hold enough. */
  async #trim(): Promise<void> {
    for (;;) {
      const [oldest, next] = this.#segments;
      if (oldest === undefined || next === undefined) return;
      if (this.end - next.start < this.#maxBytes) return;
      this.#segments.shift();
      await rm(this.#path(oldest), { force: true });
    }
  }

  /**
   * The bytes at an offset, or at the oldest one kept if that is later; undefined
   * where there are none yet.
   */
  async read(
    offset: number,
  ): Promise<{ offset: number; data: Uint8Array<ArrayBuffer> } | undefined> {
    for (;;) {
      const segment = this.#segments.find(({ start, size }) => offset < start + size);
      if (segment === undefined) return undefined;
      const at = Math.max(offset, segment.start);
      const length = Math.min(readBytes, segment.start + segment.size - at);
      const data = await readAt(this.#path(segment), at - segment.start, length);
      if (data !== undefined) return { offset: at, data };
      // It was rotated away meanwhile: go on with the next.
      offset = segment.start + segment.size;
    }
  }

  async close(): Promise<void> {
    await this.#writer?.close();
    this.#writer = undefined;
  }
}

/** Bytes of a file; undefined if the file is gone. */
async function readAt(
  path: string,
  position: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(length), 0, length, position);
    return bytesRead === 0 ? undefined : buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
