/**
 * Blobs on a local disk. A blob is written to an exclusive temporary file,
 * synced, renamed into one of 256 directories, and the directory is synced:
 * a file under its final name is always whole (O1).
 */
import { constants } from "node:fs";
import { mkdir, open, opendir, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import type { Blobs, StoredBlob } from "./blobs.ts";

/** How long a look at the free space counts, in milliseconds. */
const spaceFreshMs = 250;

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function errorCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

export function storeFull(cause?: unknown): Fault {
  return new Fault("store_full", "the store's disk has no room left", {
    help: "delete objects, or give the store a larger disk",
    cause,
  });
}

export class DiskBlobs implements Blobs {
  readonly #root: string;
  readonly #temporary: string;
  readonly #reserveBytes: number;
  readonly #directories: FileHandle[];
  #freeBytes = 0;
  #lookedAtMs = 0;
  #serial = 0;

  private constructor(root: string, reserveBytes: number, directories: FileHandle[]) {
    this.#root = join(root, "chunks");
    this.#temporary = join(root, "tmp");
    this.#reserveBytes = reserveBytes;
    this.#directories = directories;
  }

  /** Opens the blobs below `root`; whatever was half written there before is removed. */
  static async open(root: string, reserveBytes: number): Promise<DiskBlobs> {
    const chunks = join(root, "chunks");
    const temporary = join(root, "tmp");
    await mkdir(chunks, { recursive: true });
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary);
    const directories: FileHandle[] = [];
    for (let prefix = 0; prefix < 256; prefix++) {
      const path = join(chunks, prefix.toString(16).padStart(2, "0"));
      await mkdir(path, { recursive: true });
      directories.push(await open(path, constants.O_RDONLY | constants.O_DIRECTORY));
    }
    await syncDirectory(chunks);
    await syncDirectory(root);
    return new DiskBlobs(root, reserveBytes, directories);
  }

  #path(name: string): string {
    return join(this.#root, name.slice(0, 2), name);
  }

  /** Throws `store_full` if `bytes` more would eat into the reserve. */
  async #makeSure(bytes: number): Promise<void> {
    const now = performance.now();
    if (this.#lookedAtMs === 0 || now - this.#lookedAtMs > spaceFreshMs) {
      const space = await statfs(this.#root);
      this.#freeBytes = space.bavail * space.bsize;
      this.#lookedAtMs = now;
    }
    if (this.#freeBytes - bytes < this.#reserveBytes) throw storeFull();
    this.#freeBytes -= bytes;
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    await this.#makeSure(bytes.byteLength);
    const temporary = join(this.#temporary, `${process.pid}-${++this.#serial}`);
    const file = await open(temporary, "wx", 0o600);
    try {
      try {
        for (let at = 0; at < bytes.byteLength;) {
          at += (await file.write(bytes, at, bytes.byteLength - at)).bytesWritten;
        }
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(temporary, this.#path(name));
    } catch (error) {
      await rm(temporary, { force: true });
      throw errorCode(error) === "ENOSPC" || errorCode(error) === "EDQUOT"
        ? storeFull(error)
        : error;
    }
    await this.#directories[Number.parseInt(name.slice(0, 2), 16)]?.sync();
  }

  async read(name: string, target: Buffer): Promise<number | undefined> {
    let file: FileHandle;
    try {
      file = await open(this.#path(name), "r");
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    }
    try {
      let filled = 0;
      while (filled < target.length) {
        const { bytesRead } = await file.read(target, filled, target.length - filled, filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return filled;
    } finally {
      await file.close();
    }
  }

  async remove(name: string): Promise<void> {
    await rm(this.#path(name), { force: true });
  }

  async *list(): AsyncIterable<StoredBlob> {
    for (const prefix of await readdir(this.#root)) {
      for await (const entry of await opendir(join(this.#root, prefix))) {
        const found = await stat(join(this.#root, prefix, entry.name)).catch(() => undefined);
        if (found === undefined) continue;
        yield { name: entry.name, bytes: found.size, modifiedAtMs: found.mtimeMs };
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#directories.map((directory) => directory.close()));
  }
}
