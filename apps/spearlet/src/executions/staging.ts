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
import type { NodeObjects } from "../objects/objects.ts";
import { objectName } from "@spear/shared/store/schema.ts";

type Input = NonNullable<TaskSpec["inputs"]>[number];
type Output = NonNullable<TaskSpec["outputs"]>[number];

const stagingBucket = "spear-staging";
const parallel = 4;

/** What a path that the task chose can run into. */
const pathTrouble = new Set(["EEXIST", "ENOTDIR", "EISDIR", "ENAMETOOLONG", "ELOOP"]);

/** Trouble of this node's disk, whatever is written. */
const diskTrouble = new Set(["ENOSPC", "EDQUOT", "EIO", "EROFS"]);

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
  readonly #objects: NodeObjects;

  constructor(objects: NodeObjects) {
    this.#objects = objects;
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
      await this.#objects.copyTo(objectName(object), target, signal);
    } catch (error) {
      if (error instanceof Fault && error.row.http === 404) {
        throw new AgentFailure("input_missing", `input ${object}: ${error.message}`);
      }
      const { code = "" } = error as NodeJS.ErrnoException;
      if (!pathTrouble.has(code)) throw nodeTrouble(error);
      throw new AgentFailure("input_invalid", `input path ${path} can't be made: ${code}`);
    }
  }

  /**
   * Brings an object to a path of the node's own where nothing is. Throws `AgentFailure`:
   * `object_missing` is the task's, others the node's.
   */
  async fetchFile(object: string, path: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#objects.copyTo(objectName(object), path, signal);
    } catch (error) {
      if (error instanceof Fault && error.row.http === 404) {
        throw new AgentFailure("object_missing", `${object}: ${error.message}`);
      }
      throw nodeTrouble(error);
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
      const key = `${id.taskId}/${id.attempt}/${output.path}`;
      const objectId = await this.#store(key, file, signal);
      return { path: output.path, object: output.object, objectId, sizeBytes: file.sizeBytes };
    });
    return stored.filter((object) => object !== undefined);
  }

  async #store(key: string, file: OutputFile, signal: AbortSignal): Promise<string> {
    const request = { bucket: stagingBucket, key, sizeBytes: file.sizeBytes };
    try {
      await this.#objects.ensureBucket(stagingBucket, signal);
      return (await this.#objects.put(request, Bun.file(file.path), signal)).id;
    } catch (error) {
      throw nodeTrouble(error);
    }
  }
}

/** A store that is away, or the node's disk: the node is to blame then, not the task. */
export function nodeTrouble(error: unknown): unknown {
  const { code = "" } = error as NodeJS.ErrnoException;
  if (error instanceof Fault && error.code === "unavailable") {
    const detail = { nodeFault: true, cause: error.cause };
    return new AgentFailure("store_unavailable", error.message, detail);
  }
  if (!diskTrouble.has(code)) return error;
  const message = `the node's disk does not take the bytes: ${code}`;
  return new AgentFailure("disk_failed", message, { nodeFault: true, cause: error });
}

interface OutputFile {
  path: string;
  sizeBytes: number;
}

/** An output that is a regular file reached without symbolic links. */
async function findOutput(
  { path, optional = false }: Output,
  workDir: string,
): Promise<OutputFile | undefined> {
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
