/**
 * Segments as files: a file is only ever appended to, one sync for each batch
 * (O1). Every run of the store begins a file of its own; whatever an earlier one
 * left half written at its end is never named.
 */
import { mkdir, open, readdir, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { failpoint } from "../failpoint.ts";
import { placeInSegment } from "./chunk.ts";
import { syncDirectory } from "./disk.ts";
import { GroupCommit } from "./group-commit.ts";
import { encodeEntries, headerBytes, Pending, readEntries, sizeOfEntries } from "./segments.ts";
import type { SegmentEntry, Segments, SmallChunk } from "./segments.ts";
import { diskFault, type Space } from "./space.ts";

const openFiles = 64;
const fileName = /^(\d{8})\.segment$/;

interface Current {
  readonly number: number;
  readonly file: FileHandle;
  size: number;
}

export class DiskSegments implements Segments {
  /** A short file costs nothing. */
  readonly mergeBelowBytes = 0;
  readonly #root: string;
  readonly #space: Space;
  readonly #maxBytes: number;
  readonly #group: GroupCommit;
  readonly #readers = new Map<number, Promise<FileHandle>>();
  readonly #pending = new Pending();
  #next: number;
  #current: Current | undefined;

  private constructor(root: string, space: Space, maxBytes: number, next: number) {
    this.#root = root;
    this.#space = space;
    this.#maxBytes = maxBytes;
    this.#next = next;
    this.#group = new GroupCommit((batch) => this.#write(batch), maxBytes, 1);
  }

  /** Opens the segments below `dataDir`; one that grew past `maxBytes` is followed by the next. */
  static async open(dataDir: string, space: Space, maxBytes: number): Promise<DiskSegments> {
    const root = join(dataDir, "segments");
    await mkdir(root, { recursive: true });
    await syncDirectory(dataDir);
    const last = Math.max(0, ...(await numbersIn(root)));
    return new DiskSegments(root, space, maxBytes, last + 1);
  }

  #path(segment: number): string {
    return join(this.#root, `${String(segment).padStart(8, "0")}.segment`);
  }

  append(hash: Buffer, bytes: Buffer): Promise<Buffer> {
    return this.#group.append(hash, bytes);
  }

  settle(location: Buffer): void {
    this.#pending.settle(location);
  }

  async #write(batch: readonly SmallChunk[]): Promise<Buffer[]> {
    try {
      await this.#space.claim(sizeOfEntries(batch));
      const current = await this.#writable();
      const { bytes, locations } = encodeEntries(batch, current.number, current.size);
      for (let written = 0; written < bytes.length;) {
        const left = bytes.length - written;
        written += (await current.file.write(bytes, written, left, current.size + written))
          .bytesWritten;
      }
      failpoint("segment.written");
      await current.file.datasync();
      failpoint("segment.synced");
      current.size += bytes.length;
      this.#pending.add(current.number, batch.length);
      return locations;
    } catch (error) {
      // The end of the file is of no use to anyone; the next batch starts another.
      await this.#seal();
      throw diskFault(error);
    }
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

  async read(
    location: Buffer,
    target: Buffer,
    what: "chunk" | "entry" = "chunk",
  ): Promise<number | undefined> {
    const place = placeInSegment(location);
    const skipped = what === "chunk" ? headerBytes : 0;
    if (place === undefined) return undefined;
    try {
      const file = await this.#reader(place.segment);
      const { bytesRead } = await file.read(target, 0, target.length, place.offset + skipped);
      return bytesRead;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "EBADF") return undefined;
      throw error;
    }
  }

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

  async *entries(segment: number): AsyncGenerator<SegmentEntry> {
    const file = await open(this.#path(segment), "r");
    try {
      yield* readEntries(
        segment,
        async (target, offset) => (await file.read(target, 0, target.length, offset)).bytesRead,
      );
    } finally {
      await file.close();
    }
  }

  async remove(segment: number): Promise<void> {
    await this.#close(segment);
    await rm(this.#path(segment), { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#group.idle();
    await this.#seal();
    await Promise.all([...this.#readers.keys()].map((segment) => this.#close(segment)));
  }
}

async function numbersIn(root: string): Promise<number[]> {
  const names = await readdir(root);
  return names.flatMap((name) => Number(fileName.exec(name)?.[1] ?? [])).filter((n) => n > 0);
}
