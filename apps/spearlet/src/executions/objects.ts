/**
 * The Object Store as this node uses it: over HTTP, streaming in constant memory,
 * patient while the store is away for a moment.
 */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { systemClock } from "@spear/shared/clock.ts";
import { Fault, type Problem } from "@spear/shared/fault.ts";
import { AgentFailure } from "../agents/agent.ts";

const tries = 6;
const firstPauseMs = 200;

/** Trouble of this node's disk, whatever is written. */
const diskTrouble = new Set(["ENOSPC", "EDQUOT", "EIO", "EROFS"]);

export interface StoredObject {
  id: string;
  sizeBytes: number;
}

export class StoreClient {
  readonly #url: () => string | undefined;
  readonly #buckets = new Set<string>();

  /** `url`: the store's HTTP address; undefined or empty if the cluster has none. */
  constructor(url: () => string | undefined) {
    this.#url = url;
  }

  /**
   * SHA-256 of an object, in hex. Throws `object_not_found` and the like, and
   * `AgentFailure` `store_unavailable`, which is the node's fault.
   */
  digestOf(object: string, signal: AbortSignal): Promise<string> {
    return this.#call(signal, async (url) => {
      const response = await fetch(addressOf(url, object), { method: "HEAD", signal });
      // An answer to HEAD has no body that would say more.
      if (response.status === 404) throw new Fault("object_not_found", `there is no ${object}`);
      if (!response.ok) throw await faultOf(response);
      return response.headers.get("x-spear-sha256") ?? "";
    });
  }

  /**
   * Writes an object to a file, in place of what an interrupted try left there;
   * resolves with its SHA-256, which has been checked. Throws as `digestOf`, system
   * errors of `path`, and `AgentFailure` `disk_failed`, which is the node's fault.
   */
  download(object: string, path: string, signal: AbortSignal): Promise<string> {
    return this.#call(signal, async (url) => {
      const response = await fetch(addressOf(url, object), { signal });
      if (!response.ok) throw await faultOf(response);
      const sha256 = await writeTo(path, response.body ?? []);
      const expected = response.headers.get("x-spear-sha256");
      if (expected === null || expected === sha256) return sha256;
      throw new Fault("unavailable", `${object} did not arrive as it is stored`);
    });
  }

  /** Stores a file of `sizeBytes` as `bucket/key`; makes the bucket. Throws as `digestOf`. */
  upload(
    object: string,
    file: { path: string; sizeBytes: number },
    signal: AbortSignal,
  ): Promise<StoredObject> {
    return this.#call(signal, async (url) => {
      await this.#ensureBucket(url, object.slice(0, object.indexOf("/")), signal);
      const response = await fetch(addressOf(url, object), {
        method: "PUT",
        body: Bun.file(file.path),
        headers: { "content-type": "application/octet-stream" },
        signal,
      });
      if (!response.ok) throw await faultOf(response);
      const { id, sizeBytes } = (await response.json()) as StoredObject;
      if (sizeBytes === file.sizeBytes) return { id, sizeBytes };
      throw new Fault("unavailable", `the store has ${sizeBytes} of ${file.sizeBytes} bytes`);
    });
  }

  async #ensureBucket(url: string, bucket: string, signal: AbortSignal): Promise<void> {
    if (this.#buckets.has(bucket)) return;
    const address = `${url}/v1/buckets/${bucket}?ifAbsent=true`;
    const response = await fetch(address, { method: "PUT", signal });
    if (!response.ok) throw await faultOf(response);
    this.#buckets.add(bucket);
  }

  /** Tries again while the store is away; then the node is to blame, not the task. */
  async #call<T>(signal: AbortSignal, run: (url: string) => Promise<T>): Promise<T> {
    const url = this.#url();
    if (url === undefined || url === "") {
      throw unavailable("the cluster has no Object Store");
    }
    for (let failures = 1; ; failures += 1) {
      try {
        return await run(url);
      } catch (error) {
        signal.throwIfAborted();
        if (!isPassing(error)) throw error;
        if (failures === tries) {
          throw unavailable(`the Object Store at ${url} does not answer`, error);
        }
        await systemClock.wait(firstPauseMs * 2 ** (failures - 1), signal);
      }
    }
  }
}

function unavailable(message: string, cause?: unknown): AgentFailure {
  return new AgentFailure("store_unavailable", message, { nodeFault: true, cause });
}

/** True for what may be gone at the next try: a lost connection, a store that starts. */
function isPassing(error: unknown): boolean {
  if (error instanceof AgentFailure) return false;
  if (error instanceof Fault) return error.row.retryable;
  // A system error of a file has a path; one of a connection has none that exists here.
  return (error as NodeJS.ErrnoException).syscall === undefined;
}

/** `bucket/key` → address of the object, the key encoded part by part. */
function addressOf(storeUrl: string, object: string): string {
  const at = object.indexOf("/");
  const parts = object.slice(at + 1).split("/");
  const key = parts.map(encodeURIComponent).join("/");
  return `${storeUrl}/v1/buckets/${object.slice(0, at)}/objects/${key}`;
}

/** The store's answer as a fault; the body of an error that is not ours is left alone. */
async function faultOf(response: Response): Promise<Fault> {
  try {
    return Fault.fromProblem((await response.json()) as Partial<Problem>);
  } catch {
    return new Fault("internal", `the store answers ${response.status}`);
  }
}

/** Never through a symbolic link at the end of the path. */
const writeFlags =
  constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

async function writeTo(path: string, bytes: AsyncIterable<Uint8Array> | []): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  const file = await open(path, writeFlags, 0o644);
  try {
    for await (const piece of bytes) {
      hash.update(piece);
      await file.writeFile(piece);
    }
    return hash.digest("hex");
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!diskTrouble.has(code)) throw error;
    const message = `the node's disk does not take the bytes: ${code}`;
    throw new AgentFailure("disk_failed", message, { nodeFault: true, cause: error });
  } finally {
    await file.close();
  }
}
