/**
 * What jco made, kept on disk by what it was made from, so that a module is
 * transpiled once on a node. An entry appears whole or not at all; the least
 * recently used ones go when the cache grows too large, but never one that an
 * attempt still needs.
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { manifestFile } from "./artifact.ts";

/** Changes whenever the same module would become something else. */
const recipe = "jco-transpile 0.15.0, jco 1.0.0 adapter, sync, 1";
const unfinished = ".making-";

/** An entry that stays until it is given back. */
export interface Artifact extends Disposable {
  folder: string;
}

export class ArtifactCache {
  readonly #folder: string;
  readonly #maxBytes: number;
  readonly #making = new Map<string, Promise<void>>();
  readonly #uses = new Map<string, number>();
  #swept = false;

  /** Keeps at most `maxBytes` in `folder`, which it has for itself. */
  constructor(folder: string, maxBytes: number) {
    this.#folder = folder;
    this.#maxBytes = maxBytes;
  }

  /** The entry of a module by its SHA-256; made by `make` if it is not there. */
  async obtain(sha256: string, make: (folder: string) => Promise<void>): Promise<Artifact> {
    const key = createHash("sha256").update(`${recipe}\n${sha256}`).digest("hex");
    const folder = join(this.#folder, key);
    this.#uses.set(key, (this.#uses.get(key) ?? 0) + 1);
    let given = false;
    const giveBack = () => {
      if (!given) this.#uses.set(key, (this.#uses.get(key) ?? 1) - 1);
      given = true;
    };
    try {
      await this.#ensure(key, folder, make);
    } catch (error) {
      giveBack();
      throw error;
    }
    return { folder, [Symbol.dispose]: giveBack };
  }

  async #ensure(
    key: string,
    folder: string,
    make: (folder: string) => Promise<void>,
  ): Promise<void> {
    if (await exists(join(folder, manifestFile))) {
      const now = new Date();
      return utimes(folder, now, now);
    }
    let making = this.#making.get(key);
    if (making === undefined) {
      making = this.#make(folder, make).finally(() => this.#making.delete(key));
      this.#making.set(key, making);
    }
    return making;
  }

  async #make(folder: string, make: (folder: string) => Promise<void>): Promise<void> {
    await this.#sweep();
    const scratch = join(this.#folder, `${unfinished}${Bun.randomUUIDv7()}`);
    await mkdir(scratch);
    try {
      await make(scratch);
      await rm(folder, { recursive: true, force: true });
      await rename(scratch, folder);
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
    await this.#evict();
  }

  /** Removes what an earlier run did not finish. */
  async #sweep(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    if (this.#swept) return;
    this.#swept = true;
    const names = await readdir(this.#folder);
    await Promise.all(
      names
        .filter((name) => name.startsWith(unfinished))
        .map((name) => rm(join(this.#folder, name), { recursive: true, force: true })),
    );
  }

  async #evict(): Promise<void> {
    const names = (await readdir(this.#folder)).filter((name) => !name.startsWith(unfinished));
    const entries = await Promise.all(
      names.map(async (name) => {
        const folder = join(this.#folder, name);
        return { name, folder, usedMs: (await stat(folder)).mtimeMs, bytes: await sizeOf(folder) };
      }),
    );
    let total = entries.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { name, folder, bytes } of entries.toSorted((a, b) => a.usedMs - b.usedMs)) {
      if (total <= this.#maxBytes) return;
      if ((this.#uses.get(name) ?? 0) > 0) continue;
      await rm(folder, { recursive: true, force: true });
      total -= bytes;
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return Bun.file(path).exists();
}

async function sizeOf(folder: string): Promise<number> {
  const names = await readdir(folder);
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
