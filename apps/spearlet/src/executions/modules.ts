/**
 * Wasm modules on the node's disk, by their digest: fetched once, shared by all
 * attempts, the least recently used removed when there are too many bytes.
 */
import { mkdirSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { AgentFailure } from "../agents/agent.ts";
import type { ModuleFile } from "../agents/wasm/source.ts";
import type { StoreClient } from "./objects.ts";

const digest = /^[0-9a-f]{64}$/;

export class ModuleCache {
  readonly #dir: string;
  readonly #maxBytes: number;
  readonly #store: StoreClient;
  /** Size by digest, the least recently used first. */
  readonly #sizes = new Map<string, number>();
  /** Downloads in flight, so that many attempts of one module fetch it once. */
  readonly #fetching = new Map<string, Promise<void>>();
  #bytes = 0;
  #downloads = 0;

  /** Finds what earlier runs fetched. `maxBytes`: what is kept beyond what is in use. */
  constructor(dir: string, maxBytes: number, store: StoreClient) {
    this.#dir = dir;
    this.#maxBytes = maxBytes;
    this.#store = store;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const found = readdirSync(dir).map((name) => ({ name, ...statOf(join(dir, name)) }));
    for (const { name, size } of found.toSorted((a, b) => a.mtimeMs - b.mtimeMs)) {
      if (digest.test(name)) this.#add(name, size);
      else rmSync(join(dir, name), { force: true });
    }
  }

  /**
   * Brings an object, as "bucket/key", to the disk. Throws `AgentFailure`:
   * `module_missing` and `checksum_mismatch` are the task's, others the node's.
   */
  async fetch(object: string, signal: AbortSignal): Promise<ModuleFile> {
    try {
      const name = object.slice(object.indexOf("/") + 1);
      const sha256 = digest.test(name) ? name : await this.#store.digestOf(object, signal);
      const path = join(this.#dir, sha256);
      if (this.#sizes.has(sha256)) this.#touch(sha256);
      else await this.#fetchOnce(object, sha256, signal);
      return { path, sha256 };
    } catch (error) {
      if (error instanceof Fault && error.row.http === 404) {
        throw new AgentFailure("module_missing", `module ${object}: ${error.message}`);
      }
      throw error;
    }
  }

  async #fetchOnce(object: string, sha256: string, signal: AbortSignal): Promise<void> {
    const running = this.#fetching.get(sha256);
    if (running !== undefined) {
      // Who started it may have been cancelled meanwhile.
      await running.catch(() => undefined);
      if (!this.#sizes.has(sha256)) await this.#fetchOnce(object, sha256, signal);
      return;
    }
    const download = this.#download(object, sha256, signal);
    this.#fetching.set(sha256, download);
    try {
      await download;
    } finally {
      this.#fetching.delete(sha256);
    }
  }

  async #download(object: string, sha256: string, signal: AbortSignal): Promise<void> {
    const partial = join(this.#dir, `${sha256}.${++this.#downloads}`);
    try {
      const arrived = await this.#store.download(object, partial, signal);
      if (arrived !== sha256) {
        throw new AgentFailure("checksum_mismatch", `module ${object} has the digest ${arrived}`);
      }
      await rename(partial, join(this.#dir, sha256));
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
    this.#add(sha256, (await stat(join(this.#dir, sha256))).size);
    await this.#evict(sha256);
  }

  #add(sha256: string, size: number): void {
    this.#sizes.set(sha256, size);
    this.#bytes += size;
  }

  #touch(sha256: string): void {
    const size = this.#sizes.get(sha256) ?? 0;
    this.#sizes.delete(sha256);
    this.#sizes.set(sha256, size);
    const now = new Date();
    utimesSync(join(this.#dir, sha256), now, now);
  }

  /** A child that has a removed file open keeps it until it ends. */
  async #evict(except: string): Promise<void> {
    for (const [sha256, size] of this.#sizes) {
      if (this.#bytes <= this.#maxBytes) return;
      if (sha256 === except) continue;
      this.#sizes.delete(sha256);
      this.#bytes -= size;
      await rm(join(this.#dir, sha256), { force: true });
    }
  }
}

function statOf(path: string): { size: number; mtimeMs: number } {
  const { size, mtimeMs } = statSync(path);
  return { size, mtimeMs };
}
