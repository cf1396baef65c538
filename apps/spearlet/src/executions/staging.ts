/**
 * Inputs from the Object Store into a work directory and outputs back. Nothing
 * outside of the work directory is read or written, whatever paths and symbolic
 * links there are (S1).
 */
import { lstat, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import type { OutputObject, TaskSpec } from "@spear/shared/task.ts";
import { AgentFailure } from "../agents/agent.ts";
import type { AttemptId } from "./attempt.ts";
import type { StoreClient } from "./objects.ts";

type Input = NonNullable<TaskSpec["inputs"]>[number];
type Output = NonNullable<TaskSpec["outputs"]>[number];

const stagingBucket = "spear-staging";
const parallel = 4;

/** What a path that the task chose can run into. */
const pathTrouble = new Set(["EEXIST", "ENOTDIR", "EISDIR", "ENAMETOOLONG", "ELOOP"]);

/** Runs over all items, some at the same time; results in the order of the items. */
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
  readonly #store: StoreClient;

  constructor(store: StoreClient) {
    this.#store = store;
  }

  /**
   * Puts every input at its path in a fresh work directory. Throws `AgentFailure`:
   * `input_missing` and `input_invalid` are the task's, others the node's.
   */
  async fetchInputs(inputs: readonly Input[], workDir: string, signal: AbortSignal): Promise<void> {
    await inParallel(inputs, (input) => this.#fetch(input, workDir, signal));
  }

  async #fetch({ object, path }: Input, workDir: string, signal: AbortSignal): Promise<void> {
    const target = join(workDir, path);
    try {
      // Only regular files and directories are made here, so no link can lead out.
      await mkdir(dirname(target), { recursive: true });
      await this.#store.download(object, target, signal);
    } catch (error) {
      if (error instanceof Fault && error.row.http === 404) {
        throw new AgentFailure("input_missing", `input ${object}: ${error.message}`);
      }
      const { code = "" } = error as NodeJS.ErrnoException;
      if (!pathTrouble.has(code)) throw error;
      throw new AgentFailure("input_invalid", `input path ${path} can't be made: ${code}`);
    }
  }

  /**
   * Stores every output under the attempt's own name in the staging bucket; SMS
   * gives it its real name when it commits the attempt (T3). Throws `AgentFailure`:
   * `output_missing` and `output_invalid` are the task's, others the node's.
   */
  async storeOutputs(
    outputs: readonly Output[],
    id: AttemptId,
    workDir: string,
    signal: AbortSignal,
  ): Promise<OutputObject[]> {
    const stored = await inParallel(outputs, async (output) => {
      const file = await findOutput(output, workDir);
      if (file === undefined) return undefined;
      const name = `${stagingBucket}/${id.taskId}/${id.attempt}/${output.path}`;
      const { id: objectId, sizeBytes } = await this.#store.upload(name, file, signal);
      return { path: output.path, object: output.object, objectId, sizeBytes };
    });
    return stored.filter((object) => object !== undefined);
  }
}

/** An output that is a regular file reached without symbolic links. */
async function findOutput(
  { path, optional = false }: Output,
  workDir: string,
): Promise<{ path: string; sizeBytes: number } | undefined> {
  let at = workDir;
  let stat = await lstat(at);
  for (const part of path.split("/")) {
    at = join(at, part);
    const below = stat.isDirectory() ? await lstatIfThere(at) : undefined;
    if (below === undefined) {
      if (optional) return undefined;
      throw new AgentFailure("output_missing", `output ${path} is not there`);
    }
    if (below.isSymbolicLink()) {
      throw new AgentFailure("output_invalid", `output ${path} goes through a symbolic link`);
    }
    stat = below;
  }
  if (stat.isFile()) return { path: at, sizeBytes: stat.size };
  throw new AgentFailure("output_invalid", `output ${path} is not a regular file`);
}

async function lstatIfThere(path: string) {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
