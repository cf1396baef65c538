/**
 * The recording of one run of a Wasm guest: what it was given, what it could not
 * foresee, and what came of it. One object holds all: a line of JSON, then the tape.
 * It is stored when the guest has ended, before that is reported, so that a task that
 * has ended can be replayed.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { TaskSpec } from "@spear/shared/task.ts";
import type { AgentExit, OutputSink, TapeSink } from "../agents/agent.ts";
import type { AttemptId } from "../executions/attempt.ts";
import type { NodeObjects } from "../objects/objects.ts";

const bucket = "spear-recordings";
/** A longer tape is cut off, and can't be replayed to its end. */
const maxTapeBytes = 1024 ** 3;

/** A file by its content. */
export interface Fingerprint {
  path: string;
  sha256: string;
}

/** What came of a run. */
export interface RunResult {
  exitCode?: number;
  signal?: string;
  failure?: string;
  stdout: string;
  stderr: string;
  outputs: Fingerprint[];
}

/** The first line of a recording. */
export interface RecordingHead {
  version: 1;
  taskId: string;
  attempt: number;
  spec: TaskSpec;
  /** Environment as the guest saw it. */
  env: Record<string, string>;
  /** SHA-256 of the module. */
  module: string;
  /** Inputs as they were staged; each is the object of the same place in the spec. */
  inputs: Fingerprint[];
  /** SHA-256 of the streams and the outputs, and how it ended. */
  result: RunResult;
}

/** `bucket/key` of an attempt's recording. */
export function recordingName({ taskId, attempt }: { taskId: string; attempt: number }): string {
  return `${bucket}/${taskId}/${attempt}`;
}

/** SHA-256 of what is written to each stream, on its way to where it goes. */
export class HashedOutput implements OutputSink {
  readonly #sink: OutputSink | undefined;
  readonly #hashes = { stdout: new Bun.SHA256(), stderr: new Bun.SHA256() };

  constructor(sink?: OutputSink) {
    this.#sink = sink;
  }

  write(stream: "stdout" | "stderr" | "system", bytes: Uint8Array): Promise<void> {
    if (stream !== "system") this.#hashes[stream].update(bytes);
    return this.#sink?.write(stream, bytes) ?? Promise.resolve();
  }

  /** Can be asked once. */
  digests(): { stdout: string; stderr: string } {
    const { stdout, stderr } = this.#hashes;
    return { stdout: stdout.digest("hex"), stderr: stderr.digest("hex") };
  }
}

/** Files of a work directory by their content; those that are not there are left out. */
export async function fingerprints(
  workDir: string,
  paths: readonly string[],
): Promise<Fingerprint[]> {
  const found = await Promise.all(
    paths.map(async (path) => {
      const bytes = await readFile(join(workDir, path)).catch(() => undefined);
      return bytes && { path, sha256: Bun.SHA256.hash(bytes, "hex") };
    }),
  );
  return found.filter((file) => file !== undefined);
}

/** What came of a run in this directory. */
export async function resultOf(
  { exitCode, signal, failure }: AgentExit,
  output: HashedOutput,
  spec: TaskSpec,
  workDir: string,
): Promise<RunResult> {
  return {
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(signal === undefined ? {} : { signal }),
    ...(failure === undefined ? {} : { failure: failure.code }),
    ...output.digests(),
    outputs: await fingerprints(
      workDir,
      (spec.outputs ?? []).map(({ path }) => path),
    ),
  };
}

export interface RecordingOptions {
  id: AttemptId;
  spec: TaskSpec;
  env: Readonly<Record<string, string>>;
  /** With its inputs. */
  workDir: string;
  output: OutputSink;
}

export class Recording implements TapeSink, AsyncDisposable {
  readonly output: HashedOutput;
  readonly #options: RecordingOptions;
  readonly #path: string;
  readonly #fd: number;
  readonly #inputs: Fingerprint[];
  #module = "";
  #bytes = 0;

  private constructor(options: RecordingOptions, path: string, inputs: Fingerprint[]) {
    this.#options = options;
    this.#path = path;
    this.#inputs = inputs;
    this.#fd = openSync(path, "wx", 0o600);
    this.output = new HashedOutput(options.output);
  }

  /** Begins a recording whose tape is kept at `path` until it is stored. */
  static async begin(options: RecordingOptions, path: string): Promise<Recording> {
    const { spec, workDir } = options;
    const inputs = (spec.inputs ?? []).map((input) => input.path);
    await rm(path, { force: true });
    return new Recording(options, path, await fingerprints(workDir, inputs));
  }

  /** The guest's module is this one. */
  module(sha256: string): void {
    this.#module = sha256;
  }

  /** More of the tape. */
  add(bytes: Uint8Array): void {
    if (this.#bytes + bytes.length > maxTapeBytes) return;
    this.#bytes += bytes.length;
    writeSync(this.#fd, bytes);
  }

  /** Stores it once the guest has ended; its name. Throws as the store does. */
  async store(
    exit: AgentExit,
    objects: Pick<NodeObjects, "ensureBucket" | "put">,
    signal: AbortSignal,
  ): Promise<string> {
    const { id, spec, env, workDir } = this.#options;
    const head: RecordingHead = {
      version: 1,
      ...id,
      spec,
      env: { ...env },
      module: this.#module,
      inputs: this.#inputs,
      result: await resultOf(exit, this.output, spec, workDir),
    };
    const name = recordingName(id);
    const key = name.slice(bucket.length + 1);
    await objects.ensureBucket(bucket, signal);
    await objects.put({ bucket, key }, this.#body(head), signal);
    return name;
  }

  async *#body(head: RecordingHead): AsyncGenerator<Uint8Array> {
    yield Buffer.from(`${JSON.stringify(head)}\n`);
    yield* Bun.file(this.#path).stream();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    closeSync(this.#fd);
    await rm(this.#path, { force: true });
  }
}
