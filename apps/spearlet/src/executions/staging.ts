/**
 * Inputs from the Object Store into a work directory and outputs back. Bytes
 * stream; memory stays constant. Nothing outside of the work directory is read
 * or written, whatever paths and symbolic links there are (S1).
 */
import { constants } from "node:fs";
import { lstat, mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { systemClock } from "@spear/shared/clock.ts";
import { Fault, type Problem } from "@spear/shared/fault.ts";
import type { OutputObject, TaskSpec } from "@spear/shared/task.ts";
import { AgentFailure } from "../agents/agent.ts";
import type { AttemptId } from "./attempt.ts";

type Input = NonNullable<TaskSpec["inputs"]>[number];
type Output = NonNullable<TaskSpec["outputs"]>[number];

export const stagingBucket = "spear-staging";

const parallel = 4;
const tries = 6;
const firstPauseMs = 200;

/** `bucket/key` → address of the object, the key encoded part by part. */
function objectUrl(storeUrl: string, object: string): string {
  const at = object.indexOf("/");
  const key = object
    .slice(at + 1)
    .split("/")
    .map(encodeURIComponent)
    .join("/");
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

/** Tries again while the store is away; then the node is to blame, not the task. */
async function persistently<T>(
  storeUrl: string,
  signal: AbortSignal,
  call: () => Promise<T>,
): Promise<T> {
  for (let failures = 1; ; failures += 1) {
    try {
      return await call();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof AgentFailure) throw error;
      if (error instanceof Fault && !error.row.retryable) throw error;
      if (failures === tries) {
        throw new AgentFailure(
          "store_unavailable",
          `the Object Store at ${storeUrl} does not answer`,
          { nodeFault: true, cause: error },
        );
      }
      await systemClock.wait(firstPauseMs * 2 ** (failures - 1), signal);
    }
  }
}

async function inParallel<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  await Promise.all(
    Array.from({ length: Math.min(parallel, items.length) }, async () => {
      for (const [index, item] of queue) results[index] = await run(item);
    }),
  );
  return results;
}

/** The inputs and outputs of this node's attempts. */
export class Staging {
  /** HTTP address of the store; undefined if the cluster has none. */
  readonly #storeUrl: () => string | undefined;
  #bucketReady = false;

  constructor(storeUrl: () => string | undefined) {
    this.#storeUrl = storeUrl;
  }

  #store(): string {
    const url = this.#storeUrl();
    if (url !== undefined && url !== "") return url;
    throw new AgentFailure("store_unavailable", "the cluster has no Object Store", {
      nodeFault: true,
    });
  }

  /**
   * Puts every input at its path in a fresh work directory. Throws `AgentFailure`:
   * `input_missing` and `input_invalid` are the task's, `store_unavailable` the node's.
   */
  async fetchInputs(inputs: readonly Input[], workDir: string, signal: AbortSignal): Promise<void> {
    if (inputs.length === 0) return;
    const store = this.#store();
    await inParallel(inputs, (input) =>
      persistently(store, signal, () => fetchInput(store, input, workDir, signal)),
    );
  }

  /**
   * Stores every output under the attempt's own name in the staging bucket; SMS
   * gives it its real name when it commits the attempt (T3). Throws `AgentFailure`:
   * `output_missing` and `output_invalid` are the task's.
   */
  async storeOutputs(
    outputs: readonly Output[],
    id: AttemptId,
    workDir: string,
    signal: AbortSignal,
  ): Promise<OutputObject[]> {
    if (outputs.length === 0) return [];
    const store = this.#store();
    const stored = await inParallel(outputs, async (output) => {
      const file = await findOutput(output, workDir);
      if (file === undefined) return undefined;
      const key = `${stagingBucket}/${id.taskId}/${id.attempt}/${output.path}`;
      const object = await persistently(store, signal, async () => {
        await this.#ensureBucket(store, signal);
        return storeFile(objectUrl(store, key), file, signal);
      });
      return { path: output.path, object: output.object, ...object };
    });
    return stored.filter((object) => object !== undefined);
  }

  async #ensureBucket(store: string, signal: AbortSignal): Promise<void> {
    if (this.#bucketReady) return;
    const response = await fetch(`${store}/v1/buckets/${stagingBucket}?ifAbsent=true`, {
      method: "PUT",
      signal,
    });
    if (!response.ok) throw await faultOf(response);
    this.#bucketReady = true;
  }
}

async function fetchInput(
  store: string,
  { object, path }: Input,
  workDir: string,
  signal: AbortSignal,
): Promise<void> {
  const response = await fetch(objectUrl(store, object), { signal });
  if (!response.ok) {
    const fault = await faultOf(response);
    if (fault.row.http !== 404) throw fault;
    throw new AgentFailure("input_missing", `input ${object}: ${fault.message}`);
  }
  const target = join(workDir, path);
  try {
    await mkdir(dirname(target), { recursive: true });
    // Only regular files and directories are made here, so no link can lead out;
    // a try that broke off left a file behind.
    const file = await open(
      target,
      constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
      0o644,
    );
    try {
      await receive(response, file, object);
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (["EEXIST", "ENOTDIR", "EISDIR", "ENAMETOOLONG"].includes(code)) {
      throw new AgentFailure("input_invalid", `input path ${path} can't be made: ${code}`);
    }
    if (["ENOSPC", "EDQUOT", "EIO", "EROFS"].includes(code)) {
      throw new AgentFailure("disk_failed", `the node can't write input ${path}: ${code}`, {
        nodeFault: true,
        cause: error,
      });
    }
    throw error;
  }
}

async function receive(
  response: Response,
  file: Awaited<ReturnType<typeof open>>,
  object: string,
): Promise<void> {
  const hash = new Bun.CryptoHasher("sha256");
  if (response.body !== null) {
    for await (const chunk of response.body) {
      hash.update(chunk);
      await file.writeFile(chunk);
    }
  }
  const expected = response.headers.get("x-spear-sha256");
  if (expected !== null && expected !== hash.digest("hex")) {
    throw new Fault("unavailable", `${object} did not arrive as it is stored`);
  }
}

/** Absolute path of an output that is a regular file reached without symbolic links. */
async function findOutput(
  { path, optional = false }: Output,
  workDir: string,
): Promise<{ path: string; sizeBytes: number } | undefined> {
  const parts = path.split("/");
  let at = workDir;
  for (const [index, part] of parts.entries()) {
    at = join(at, part);
    const stat = await lstat(at).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
      throw error;
    });
    if (stat === undefined) {
      if (optional) return undefined;
      throw new AgentFailure("output_missing", `output ${path} is not there`);
    }
    const last = index === parts.length - 1;
    if (last && stat.isFile()) return { path: at, sizeBytes: stat.size };
    if (last || !stat.isDirectory()) {
      throw new AgentFailure(
        "output_invalid",
        `output ${path} is not a regular file in the work directory`,
      );
    }
  }
  throw new AgentFailure("output_invalid", "an output has no path");
}

async function storeFile(
  url: string,
  file: { path: string; sizeBytes: number },
  signal: AbortSignal,
): Promise<{ objectId: string; sizeBytes: number }> {
  const response = await fetch(url, {
    method: "PUT",
    body: Bun.file(file.path),
    headers: { "content-type": "application/octet-stream" },
    signal,
  });
  if (!response.ok) throw await faultOf(response);
  const stored = (await response.json()) as { id: string; sizeBytes: number };
  if (stored.sizeBytes !== file.sizeBytes) {
    throw new Fault("unavailable", `the store has ${stored.sizeBytes} bytes of ${file.sizeBytes}`);
  }
  return { objectId: stored.id, sizeBytes: stored.sizeBytes };
}
