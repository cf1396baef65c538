/** What the tests of the WasmAgent share: attempts, their output, and a folder for modules. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds } from "@spear/shared/ids.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import type { AgentExit, AttemptContext, Host, OutputSink, RunningAttempt } from "../agent.ts";
import { writeWat } from "./guests/build.ts";
import { WasmAgent, type WasmAgentOptions } from "./wasm.ts";

const MIB = 1024 * 1024;

/** A guest that prints "hello" and ends. */
export const hello = `(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00hello\\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))`;

/** A guest whose only function is this. */
export function body(instructions: string, more = ""): string {
  return `(module ${more} (func $start (export "_start") ${instructions}))`;
}

export interface Attempt {
  /** Path of a module, or a module in the text format. */
  module: string;
  spec?: Partial<TaskSpec>;
  wasm?: Partial<NonNullable<TaskSpec["wasm"]>>;
  env?: Record<string, string>;
  stdin?: string;
  memoryBytes?: number;
  output?: OutputSink;
  host?: Host;
}

/** How an attempt ended, with its output as text. */
export interface Ended extends AgentExit {
  stdout: string;
  stderr: string;
}

/** An agent whose modules are files, and its folder; disposing removes both. */
export class Bench implements AsyncDisposable {
  readonly folder: string;
  readonly workDir: string;
  readonly agent: WasmAgent;
  #written = 0;

  private constructor(folder: string, options: Partial<WasmAgentOptions>) {
    this.folder = folder;
    this.workDir = join(folder, "work");
    this.agent = new WasmAgent({
      fetchModule: (object) =>
        Promise.resolve({ path: object.slice("files/".length), sha256: object }),
      cacheDir: join(folder, "cache"),
      idle: 1,
      ...options,
    });
  }

  static async open(options: Partial<WasmAgentOptions> = {}): Promise<Bench> {
    const folder = await mkdtemp(join(tmpdir(), "spear-wasm-test-"));
    const bench = new Bench(folder, options);
    await mkdir(bench.workDir);
    return bench;
  }

  async #modulePath(module: string): Promise<string> {
    if (!module.startsWith("(")) return module;
    return writeWat(join(this.folder, `guest-${this.#written++}.wasm`), module);
  }

  async context(attempt: Attempt): Promise<AttemptContext> {
    const module = `files/${await this.#modulePath(attempt.module)}`;
    return {
      taskId: systemIds.next("task"),
      attempt: 1,
      spec: { ...attempt.spec, wasm: { ...attempt.wasm, module } },
      workDir: this.workDir,
      env: attempt.env ?? {},
      stdin: new TextEncoder().encode(attempt.stdin ?? ""),
      output: attempt.output ?? { write: () => Promise.resolve() },
      ...(attempt.host === undefined ? {} : { host: attempt.host }),
      limits: { cpu: 1, memoryBytes: attempt.memoryBytes ?? 64 * MIB, pids: undefined },
    };
  }

  /** Prepares and starts an attempt. */
  async start(attempt: Attempt): Promise<RunningAttempt> {
    const context = await this.context(attempt);
    return (await this.agent.prepare(context, AbortSignal.timeout(30_000))).start();
  }

  /** Runs an attempt to its end. */
  async run(attempt: Attempt): Promise<Ended> {
    const chunks = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[], system: [] };
    const output: OutputSink = {
      write: (stream, bytes) => {
        (chunks[stream] as Uint8Array[]).push(bytes.slice());
        return Promise.resolve();
      },
    };
    const running = await this.start({ output, ...attempt });
    const exit = await running.exit;
    const text = (stream: "stdout" | "stderr") => Buffer.concat(chunks[stream]).toString("latin1");
    return { ...exit, stdout: text("stdout"), stderr: text("stderr") };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Resolves when the condition holds; the test's own timeout is its limit. */
export async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(2);
}
