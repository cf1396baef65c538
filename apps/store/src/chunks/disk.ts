/**
 * Blobs on a local disk. A blob is written to an exclusive temporary file,
 * synced, renamed into one of 256 directories, and the directory is synced:
 * a file under its final name is always whole (O1).
 */
import { constants } from "node:fs";
import { mkdir, open, opendir, readdir, rename, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { failpoint } from "../failpoint.ts";
import type { Blobs, StoredBlob } from "./blobs.ts";
import { diskFault, type Space } from "./space.ts";

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

/** Replaces a small file, so that after a crash it is the old one or the new one. */
export async function replaceFile(path: string, bytes: string | Buffer, mode = 0o644) {
  const file = await open(`${path}.new`, "w", mode);
  try {
    await file.writeFile(bytes);
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  await syncDirectory(dirname(path));
}

export class DiskBlobs implements Blobs {
  readonly #root: string;
  readonly #temporary: string;
  readonly #space: Space;
  readonly #directories: FileHandle[];
  #serial = 0;

  private constructor(root: string, space: Space, directories: FileHandle[]) {
    this.#root = join(root, "chunks");
    this.#temporary = join(root, "tmp");
    this.#space = space;
    this.#directories = directories;
  }

  /** Opens the blobs below `root`; their owner removes whatever was half written there before. */
  static async open(root: string, space: Space, owner = true): Promise<DiskBlobs> {
    const chunks = join(root, "chunks");
    const temporary = join(root, "tmp");
    await mkdir(chunks, { recursive: true });
    if (owner) await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true });
    const directories: FileHandle[] = [];
    for (let prefix = 0; prefix < 256; prefix++) {
      const path = join(chunks, prefix.toString(16).padStart(2, "0"));
      await mkdir(path, { recursive: true });
      directories.push(await open(path, constants.O_RDONLY | constants.O_DIRECTORY));
    }
    await syncDirectory(chunks);
    await syncDirectory(root);
    return new DiskBlobs(root, space, directories);
  }

  #path(name: string): string {
    return join(this.#root, name.slice(0, 2), name);
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    await this.#space.claim(bytes.byteLength);
    const temporary = join(this.#temporary, `${process.pid}-${++this.#serial}`);
    const file = await open(temporary, "wx", 0o600);
    try {
      try {
        for (let at = 0; at < bytes.byteLength;) {
          at += (await file.write(bytes, at, bytes.byteLength - at)).bytesWritten;
        }
        failpoint("blob.written");
        await file.datasync();
        failpoint("blob.synced");
      } finally {
        await file.close();
      }
      await rename(temporary, this.#path(name));
      failpoint("blob.renamed");
    } catch (error) {
      await rm(temporary, { force: true });
      throw diskFault(error);
    }
    await this.#directories[Number.parseInt(name.slice(0, 2), 16)]?.sync();
    failpoint("blob.stored");
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
