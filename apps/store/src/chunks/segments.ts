/**
 * Small chunks, many to a file: a segment is only ever appended to, and what
 * arrives while one batch is being synced is the next batch, so that many
 * clients share one sync (O1). Every run of the store begins a segment of its
 * own; whatever an earlier one left half written at its end is never named.
 *
 * An entry is: u32 magic, u32 size, 32 bytes of hash, the bytes.
 */
import { mkdir, open, readdir, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { failpoint } from "../failpoint.ts";
import { hashBytes, hashOf, placeInSegment, segmentLocation, type PlacedChunk } from "./chunk.ts";
import { syncDirectory } from "./disk.ts";
import { diskFault, type Space } from "./space.ts";

const magic = 0x53_70_53_31;
const headerBytes = 8 + hashBytes;
const batchBytes = 4 << 20;
const queueBytes = 64 << 20;
const openFiles = 64;
const fileName = /^(\d{8})\.segment$/;

interface Waiting {
  readonly hash: Buffer;
  readonly bytes: Buffer;
  resolve(location: Buffer): void;
  reject(error: unknown): void;
}

interface Current {
  readonly number: number;
  readonly file: FileHandle;
  size: number;
}

export class Segments implements AsyncDisposable {
  readonly #root: string;
  readonly #space: Space;
  readonly #maxBytes: number;
  readonly #queue: Waiting[] = [];
  readonly #readers = new Map<number, Promise<FileHandle>>();
  /** Appended but neither committed nor given up, by segment. */
  readonly #pending = new Map<number, number>();
  #queuedBytes = 0;
  #next: number;
  #current: Current | undefined;
  #flushing: Promise<void> | undefined;

  private constructor(root: string, space: Space, maxBytes: number, next: number) {
    this.#root = root;
    this.#space = space;
    this.#maxBytes = maxBytes;
    this.#next = next;
  }

  /** Opens the segments below `dataDir`; one that grew past `maxBytes` is followed by the next. */
  static async open(dataDir: string, space: Space, maxBytes: number): Promise<Segments> {
    const root = join(dataDir, "segments");
    await mkdir(root, { recursive: true });
    await syncDirectory(dataDir);
    const last = Math.max(0, ...(await numbersIn(root)));
    return new Segments(root, space, maxBytes, last + 1);
  }

  #path(segment: number): string {
    return join(this.#root, `${String(segment).padStart(8, "0")}.segment`);
  }

  /**
   * Appends a chunk; once it resolves, the chunk survives loss of power. Its
   * segment stays until `settle`. Errors: `store_full`, `too_many_requests`.
   */
  append(hash: Buffer, bytes: Buffer): Promise<Buffer> {
    if (this.#queuedBytes > queueBytes) {
      return Promise.reject(new Fault("too_many_requests", "too many small puts wait"));
    }
    this.#queuedBytes += bytes.length;
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    this.#queue.push({ hash, bytes, resolve, reject });
    this.#flushing ??= this.#flush().finally(() => (this.#flushing = undefined));
    return promise;
  }

  /** The commit of an appended chunk was made or given up. */
  settle(location: Buffer): void {
    const place = placeInSegment(location);
    if (place === undefined) return;
    const left = (this.#pending.get(place.segment) ?? 0) - 1;
    if (left > 0) this.#pending.set(place.segment, left);
    else this.#pending.delete(place.segment);
  }

  async #flush(): Promise<void> {
    while (this.#queue.length > 0) {
      let taken = 0;
      let size = 0;
      while (taken < this.#queue.length && size < Math.min(batchBytes, this.#maxBytes)) {
        size += headerBytes + (this.#queue[taken]?.bytes.length ?? 0);
        taken++;
      }
      const batch = this.#queue.splice(0, taken);
      for (const { bytes } of batch) this.#queuedBytes -= bytes.length;
      try {
        const locations = await this.#write(batch, size);
        for (const [index, one] of batch.entries()) one.resolve(locations[index] as Buffer);
      } catch (error) {
        // The end of the file is of no use to anyone; the next batch starts another.
        await this.#seal();
        for (const one of batch) one.reject(diskFault(error));
      }
    }
  }

  async #write(batch: readonly Waiting[], size: number): Promise<Buffer[]> {
    await this.#space.claim(size);
    const current = await this.#writable();
    const out = Buffer.allocUnsafe(size);
    const locations: Buffer[] = [];
    let at = 0;
    for (const { hash, bytes } of batch) {
      locations.push(segmentLocation(current.number, current.size + at));
      at = out.writeUInt32BE(magic, at);
      at = out.writeUInt32BE(bytes.length, at);
      at += hash.copy(out, at);
      at += bytes.copy(out, at);
    }
    for (let written = 0; written < size;) {
      const left = size - written;
      written += (await current.file.write(out, written, left, current.size + written))
        .bytesWritten;
    }
    failpoint("segment.written");
    await current.file.datasync();
    failpoint("segment.synced");
    current.size += size;
    this.#pending.set(current.number, (this.#pending.get(current.number) ?? 0) + batch.length);
    return locations;
  }

  async #writable(): Promise<Current> {
    if (this.#current !== undefined && this.#current.size < this.#maxBytes) return this.#current;
    await this.#seal();
    const number = this.#next;
    const file = await open(this.#path(number), "wx+", 0o600);
    await syncDirectory(this.#root);
    this.#next = number + 1;
    this.#current = { number, file, size: 0 };
    return this.#current;
  }

  async #seal(): Promise<void> {
    const sealed = this.#current;
    this.#current = undefined;
    await sealed?.file.close();
  }

  #reader(segment: number): Promise<FileHandle> {
    let file = this.#readers.get(segment);
    if (file === undefined) {
      file = open(this.#path(segment), "r");
      file.catch(() => this.#readers.delete(segment));
    }
    // Set again, it is the youngest; the eldest is closed when there are too many.
    this.#readers.delete(segment);
    this.#readers.set(segment, file);
    if (this.#readers.size > openFiles) {
      const [eldest] = this.#readers.keys();
      if (eldest !== undefined) void this.#close(eldest);
    }
    return file;
  }

  async #close(segment: number): Promise<void> {
    const file = this.#readers.get(segment);
    this.#readers.delete(segment);
    await file?.then((handle) => handle.close()).catch(() => undefined);
  }

  /** Reads the chunk at a location into `target`. Returns the bytes read, or undefined if the segment is gone. */
  async read(location: Buffer, target: Buffer): Promise<number | undefined> {
    const place = placeInSegment(location);
    if (place === undefined) return undefined;
    try {
      const file = await this.#reader(place.segment);
      const { bytesRead } = await file.read(target, 0, target.length, place.offset + headerBytes);
      return bytesRead;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "EBADF") return undefined;
      throw error;
    }
  }

  /** Segments that nothing is appended to any more and no commit is awaited in. */
  async sealed(): Promise<{ segment: number; bytes: number }[]> {
    const found: { segment: number; bytes: number }[] = [];
    for (const segment of await numbersIn(this.#root)) {
      if (segment === this.#current?.number || this.#pending.has(segment)) continue;
      // Its file is there before it is the current one.
      if (segment >= this.#next) continue;
      found.push({ segment, bytes: Bun.file(this.#path(segment)).size });
    }
    return found;
  }

  /** The whole entries of a segment, up to where it was cut off or damaged. */
  async *entries(segment: number): AsyncGenerator<PlacedChunk & { data: Buffer; intact: boolean }> {
    const file = await open(this.#path(segment), "r");
    try {
      const header = Buffer.alloc(headerBytes);
      for (let offset = 0; ;) {
        const { bytesRead } = await file.read(header, 0, headerBytes, offset);
        if (bytesRead < headerBytes || header.readUInt32BE(0) !== magic) return;
        const bytes = header.readUInt32BE(4);
        if (bytes > batchBytes) return;
        const data = Buffer.allocUnsafe(bytes);
        const got = await file.read(data, 0, bytes, offset + headerBytes);
        if (got.bytesRead < bytes) return;
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
    } finally {
      await file.close();
    }
  }

  /** Removes a segment; what it held must have been moved or be of no use. */
  async remove(segment: number): Promise<void> {
    await this.#close(segment);
    await rm(this.#path(segment), { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#flushing;
    await this.#seal();
    await Promise.all([...this.#readers.keys()].map((segment) => this.#close(segment)));
  }
}

async function numbersIn(root: string): Promise<number[]> {
  const names = await readdir(root);
  return names.flatMap((name) => Number(fileName.exec(name)?.[1] ?? [])).filter((n) => n > 0);
}
