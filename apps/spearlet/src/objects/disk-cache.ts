/**
 * Files by name on the node's disk, of bounded size in all. Each is made once,
 * however many ask for it at the same time, and appears whole or not at all. The
 * least recently used go first, never one that is in use; what earlier runs left is
 * found again.
 */
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { aborted } from "@spear/shared/lifecycle.ts";

/** A file that stays while it is held. */
export interface Lease extends Disposable {
  readonly path: string;
}

interface Entry {
  bytes: number;
  /** How many hold it. */
  held: number;
}

const unfinished = /\.making-\d+$/;

export class DiskCache {
  readonly #dir: string;
  readonly #maxBytes: number;
  /** The least recently used first. */
  readonly #entries = new Map<string, Entry>();
  readonly #making = new Map<string, Promise<void>>();
  #bytes = 0;
  #made = 0;

  /** `maxBytes`: most that is kept beyond what is held. The directory is its own. */
  constructor(dir: string, maxBytes: number) {
    this.#dir = dir;
    this.#maxBytes = maxBytes;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const found = readdirSync(dir).map((name) => ({ name, stat: statSync(join(dir, name)) }));
    for (const { name, stat } of found.toSorted((a, b) => a.stat.mtimeMs - b.stat.mtimeMs)) {
      if (unfinished.test(name)) rmSync(join(dir, name), { force: true });
      else this.#add(name, stat.size);
    }
    // The limit may have been lowered.
    for (const name of this.#surplus()) rmSync(join(dir, name), { force: true });
  }

  /** The most recently used first. */
  get names(): string[] {
    return [...this.#entries.keys()].toReversed();
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** A file that is there; undefined if it is not. */
  take(name: string): Lease | undefined {
    const entry = this.#entries.get(name);
    if (entry === undefined) return undefined;
    this.#entries.delete(name);
    this.#entries.set(name, entry);
    const path = join(this.#dir, name);
    const now = new Date();
    // Only the order after a restart depends on it.
    utimes(path, now, now).catch(() => undefined);
    entry.held += 1;
    let given = false;
    return {
      path,
      [Symbol.dispose]: () => {
        if (!given) entry.held -= 1;
        given = true;
      },
    };
  }

  /**
   * A file, made by `make` at the path that it is given if it is not there. Throws as
   * `make`, and the signal's reason.
   */
  async obtain(
    name: string,
    make: (path: string) => Promise<void>,
    signal: AbortSignal,
  ): Promise<Lease> {
    const stopped = aborted(signal);
    for (;;) {
      signal.throwIfAborted();
      const there = this.take(name);
      if (there !== undefined) return there;
      const making = this.#making.get(name);
      if (making === undefined) return this.#make(name, make);
      // Whoever makes it may be cancelled meanwhile: then it is our turn.
      await Promise.race([making, stopped]);
    }
  }

  async #make(name: string, make: (path: string) => Promise<void>): Promise<Lease> {
    const partial = join(this.#dir, `${name}.making-${++this.#made}`);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#making.set(name, promise);
    try {
      await make(partial);
      const { size } = await stat(partial);
      await rename(partial, join(this.#dir, name));
      this.#add(name, size);
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    } finally {
      this.#making.delete(name);
      resolve();
    }
    const lease = this.take(name) as Lease;
    await this.#remove(this.#surplus());
    return lease;
  }

  #add(name: string, bytes: number): void {
    this.#entries.set(name, { bytes, held: 0 });
    this.#bytes += bytes;
  }

  /** Takes out what is too much. */
  #surplus(): string[] {
    const names: string[] = [];
    for (const [name, { held }] of this.#entries) {
      if (this.#bytes <= this.#maxBytes) break;
      if (held === 0) names.push(this.#forget(name));
    }
    return names;
  }

  #forget(name: string): string {
    this.#bytes -= this.#entries.get(name)?.bytes ?? 0;
    this.#entries.delete(name);
    return name;
  }

  async #remove(names: readonly string[]): Promise<void> {
    await Promise.all(names.map((name) => rm(join(this.#dir, name), { force: true })));
  }

  /** Removes a file that turned out to be damaged; who has it open keeps what it has. */
  async drop(name: string): Promise<void> {
    if (this.#entries.has(name)) await this.#remove([this.#forget(name)]);
  }
}
