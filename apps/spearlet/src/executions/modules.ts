/**
 * Wasm modules on the node's disk, by their digest: fetched once, shared by all
 * attempts. A child that has a removed file open keeps it until it ends.
 */
import { Fault } from "@spear/shared/fault.ts";
import { AgentFailure } from "../agents/agent.ts";
import type { ModuleFile } from "../agents/wasm/source.ts";
import type { StoreClient } from "@spear/shared/store/client.ts";
import { DiskCache } from "../objects/disk-cache.ts";
import { writeNew } from "../objects/file.ts";
import { objectName } from "@spear/shared/store/schema.ts";
import { downloadUrl } from "./download.ts";
import { nodeTrouble } from "./staging.ts";

const digest = /^[0-9a-f]{64}$/;

export class ModuleCache {
  readonly #store: StoreClient;
  readonly #cache: DiskCache;
  readonly #hosts: readonly string[];

  /**
   * Finds what earlier runs fetched. `maxBytes`: what is kept beyond what is in use.
   * `hosts`: from which modules may be fetched by URL.
   */
  constructor(dir: string, maxBytes: number, store: StoreClient, hosts: readonly string[]) {
    this.#store = store;
    this.#cache = new DiskCache(dir, maxBytes);
    this.#hosts = hosts;
  }

  /**
   * Brings an object, as "bucket/key", or what a URL with its digest names to the disk.
   * Throws `AgentFailure`: `module_missing`, `module_host_not_allowed`, `module_too_large`
   * and `checksum_mismatch` are the task's, others the node's.
   */
  async fetch(source: string, signal: AbortSignal): Promise<ModuleFile> {
    const [, url, digest] = /^(https?:.*)#sha256=([0-9a-f]{64})$/.exec(source) ?? [];
    if (url === undefined || digest === undefined) return this.#fetchObject(source, signal);
    const make = (path: string) => downloadUrl(url, digest, path, this.#hosts, signal);
    try {
      using lease = await this.#cache.obtain(digest, make, signal);
      return { path: lease.path, sha256: digest };
    } catch (error) {
      throw nodeTrouble(error);
    }
  }

  async #fetchObject(object: string, signal: AbortSignal): Promise<ModuleFile> {
    try {
      const { key } = objectName(object);
      const named = digest.exec(key)?.[0];
      const sha256 = named ?? (await this.#store.head(objectName(object), signal)).sha256;
      const make = (path: string) => this.#download(object, sha256, path, signal);
      using lease = await this.#cache.obtain(sha256, make, signal);
      return { path: lease.path, sha256 };
    } catch (error) {
      if (error instanceof Fault && error.row.http === 404) {
        throw new AgentFailure("module_missing", `module ${object}: ${error.message}`);
      }
      throw nodeTrouble(error);
    }
  }

  async #download(
    object: string,
    sha256: string,
    path: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { id, sizeBytes } = await this.#store.head(objectName(object), signal);
    const found = await writeNew(path, this.#store.read(id, { start: 0, end: sizeBytes }, signal));
    if (found === sha256) return;
    throw new AgentFailure("checksum_mismatch", `module ${object} has the digest ${found}`);
  }
}
