/**
 * WasmAgent: runs a WebAssembly guest in a child process of its own, since a
 * loop inside of a guest can only be ended with its process. This process never
 * compiles or transforms a guest's bytes. The guest sees its work directory as
 * "/", its arguments, environment and standard input, and nothing else (S1);
 * SIGKILL of its child leaves nothing of it (T6).
 */
import { open } from "node:fs/promises";
import { systemClock } from "@spear/shared/clock.ts";
import type { Failure, Usage } from "@spear/shared/task.ts";
import { isAlive, signal as sendSignal, type ProcessId } from "../../machine/proc.ts";
import {
  AgentFailure,
  type Agent,
  type AgentExit,
  type AttemptContext,
  type OutputSink,
  type PreparedAttempt,
  type RunningAttempt,
} from "../agent.ts";
import type { ChildProcess, ProcessEnd, RunEnd, RunOptions } from "./childprocess.ts";
import { ArtifactCache } from "./jco/cache.ts";
import { kindOf } from "./module.ts";
import { ChildPool } from "./pool.ts";
import type { Preopen } from "./guest.ts";
import type { Job, RunJob } from "./protocol.ts";
import { moduleObject, programName, type FetchModule } from "./source.ts";

export interface WasmAgentOptions {
  fetchModule: FetchModule;
  /** Folder for what jco makes of modules; the agent has it for itself. */
  cacheDir: string;
  /** Most bytes in it. Default 1 GiB. */
  cacheBytes?: number;
  /** Children kept ready. Default 2. */
  idle?: number;
  /** Most children at once. Default 256. */
  max?: number;
  /** Most CPU time of an attempt, in seconds; a spec can only lower it. Default: no limit. */
  cpuSeconds?: number;
  /**
   * Attempts with the same key may run in the same child, one behind the other.
   * Default: a child for each attempt.
   */
  reuseKey?: (context: AttemptContext) => string | undefined;
  /** Directories that the guest is given. Default: the work directory as "/". */
  preopens?: (context: AttemptContext) => Preopen[];
}

/** Most memory that a 32-bit guest can have. */
const maxMemoryBytes = 4 * 1024 ** 3;
const transpileMemoryBytes = 2 * 1024 ** 3;
const defaultCacheBytes = 1024 ** 3;
const nowhere: OutputSink = { write: () => Promise.resolve() };
const reapTimeoutMs = 10_000;
const probeTimeoutMs = 30_000;
const reapCheckMs = 10;

export class WasmAgent implements Agent {
  readonly runtime = "wasm";
  readonly #options: WasmAgentOptions;
  readonly #pool: ChildPool;
  readonly #cache: ArtifactCache;

  constructor(options: WasmAgentOptions) {
    this.#options = options;
    this.#cache = new ArtifactCache(options.cacheDir, options.cacheBytes ?? defaultCacheBytes);
    this.#pool = new ChildPool({ idle: options.idle ?? 2, max: options.max ?? 256 });
  }

  /** Bun's version, if children can be started. */
  async probe(): Promise<string | undefined> {
    try {
      await this.#pool.check(AbortSignal.timeout(probeTimeoutMs));
      return `bun ${Bun.version}`;
    } catch {
      return undefined;
    }
  }

  async prepare(context: AttemptContext, signal: AbortSignal): Promise<PreparedAttempt> {
    const guest = await this.#guest(context, signal);
    try {
      return await this.#prepared(context, guest, signal);
    } catch (error) {
      guest[Symbol.dispose]();
      throw error;
    }
  }

  async #prepared(
    context: AttemptContext,
    guest: Guest,
    signal: AbortSignal,
  ): Promise<PreparedAttempt> {
    // Of what jco made, something always stays loaded: its children serve once.
    // A limit of CPU time stays with its process.
    const reusable = guest.engine === "direct" && this.#cpuSeconds(context) === undefined;
    const key = reusable ? this.#options.reuseKey?.(context) : undefined;
    const child = await this.#pool.acquire(signal, key);
    let used = false;
    return {
      start: () => {
        used = true;
        const job = this.#job(context, guest, key !== undefined);
        const { host, tape } = context;
        const onTape =
          tape !== undefined && "record" in tape
            ? (bytes: Uint8Array) => tape.record.add(bytes)
            : undefined;
        const ended = this.#run(child, job, context.output, key, { host, onTape });
        return Promise.resolve(new RunningWasm(child, ended));
      },
      cleanup: () => {
        if (!used) this.#pool.giveBack(child);
        used = true;
        guest[Symbol.dispose]();
        return Promise.resolve();
      },
    };
  }

  /** The module, ready for its engine. Throws `AgentFailure` for one that is none. */
  async #guest({ spec, tape }: AttemptContext, signal: AbortSignal): Promise<Guest> {
    const { path, sha256 } = await this.#options.fetchModule(moduleObject(spec), signal);
    if (tape !== undefined && "record" in tape) tape.record.module(sha256);
    const kind = kindOf(await firstBytes(path));
    if (kind === undefined) {
      throw new AgentFailure("invalid_module", `${spec.wasm?.module} is no WebAssembly module`);
    }
    if (kind === "core" && spec.wasm?.engine !== "jco") {
      return { engine: "direct", module: path, [Symbol.dispose]: () => undefined };
    }
    const artifact = await this.#cache.obtain(sha256, (folder) =>
      this.#transpile(path, folder, signal),
    );
    return {
      engine: "jco",
      module: artifact.folder,
      [Symbol.dispose]: () => artifact[Symbol.dispose](),
    };
  }

  /** Has a child make what can be run. Throws `AgentFailure` with jco's words. */
  async #transpile(module: string, folder: string, signal: AbortSignal): Promise<void> {
    const child = await this.#pool.acquire(signal);
    const giveUp = () => child.kill("SIGKILL");
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      const memoryBytes = transpileMemoryBytes;
      const job = { task: "transpile", module, folder, memoryBytes, reuse: false } as const;
      const end = await this.#run(child, job, nowhere, undefined);
      signal.throwIfAborted();
      const failure = "result" in end ? end.result.failure : endOfTranspiler(end.full);
      if (failure !== undefined) throw new AgentFailure(failure.code, failure.message);
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  #cpuSeconds({ spec }: AttemptContext): number | undefined {
    const [node, task] = [this.#options.cpuSeconds, spec.wasm?.cpuSeconds];
    return node === undefined || task === undefined ? (node ?? task) : Math.min(node, task);
  }

  #job(context: AttemptContext, { engine, module }: Guest, reuse: boolean): RunJob {
    const { spec, limits, tape } = context;
    const { preopens } = this.#options;
    const cpuSeconds = this.#cpuSeconds(context);
    return {
      task: "run",
      module,
      engine,
      args: [programName(spec), ...(spec.wasm?.args ?? [])],
      env: { ...context.env },
      stdin: Buffer.from(context.stdin).toString("base64"),
      preopens: preopens?.(context) ?? [{ guest: "/", host: context.workDir, readOnly: false }],
      memoryBytes: limits.memoryBytes === 0 ? maxMemoryBytes : limits.memoryBytes,
      ...(cpuSeconds === undefined ? {} : { cpuSeconds }),
      ...(tape === undefined ? {} : { tape: "replay" in tape ? tape : "record" }),
      reuse,
    };
  }

  async #run(
    child: ChildProcess,
    job: Job,
    output: OutputSink,
    key: string | undefined,
    options: RunOptions = {},
  ): Promise<RunEnd> {
    let end: RunEnd | undefined;
    try {
      end = await child.run(job, output, options);
      return end;
    } finally {
      if (end !== undefined && "result" in end && key !== undefined) this.#pool.keep(child, key);
      else {
        // It goes by itself, unless its output had nowhere to go.
        if (end === undefined) child.kill("SIGKILL");
        await child.exited;
      }
    }
  }

  async reap(handle: string): Promise<void> {
    const id = JSON.parse(handle) as ProcessId;
    const timeout = AbortSignal.timeout(reapTimeoutMs);
    while (isAlive(id)) {
      sendSignal(id.pid, "SIGKILL");
      await systemClock.wait(reapCheckMs, timeout);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
  }
}

async function firstBytes(path: string): Promise<Uint8Array> {
  await using file = await open(path);
  const { buffer, bytesRead } = await file.read(new Uint8Array(8), 0, 8, 0);
  return buffer.subarray(0, bytesRead);
}

function endOfTranspiler(full: boolean): Failure {
  const why = full ? "took more memory than it may have" : "ended without a result";
  return { code: "invalid_module", message: `jco ${why} on this module` };
}

/** A module for one of the engines. */
interface Guest extends Disposable {
  engine: RunJob["engine"];
  /** File, or folder of what jco made. */
  module: string;
}

class RunningWasm implements RunningAttempt {
  readonly pid: number;
  readonly handle: string;
  readonly exit: Promise<AgentExit>;
  readonly #child: ChildProcess;
  #stopped = false;
  #last: Usage = { cpuMs: 0, maxMemoryBytes: 0 };
  #ended = false;

  constructor(child: ChildProcess, end: Promise<RunEnd>) {
    const { pid, startTicks } = child;
    this.pid = pid;
    this.handle = JSON.stringify({ pid, startTicks } satisfies ProcessId);
    this.#child = child;
    this.exit = this.#toExit(end);
  }

  async #toExit(pending: Promise<RunEnd>): Promise<AgentExit> {
    try {
      const end = await pending;
      if ("result" in end) {
        const { exitCode, signal, failure, cpuMs, memoryBytes } = end.result;
        this.#last = { cpuMs, maxMemoryBytes: memoryBytes };
        return {
          ...(exitCode === undefined ? {} : { exitCode }),
          ...(signal === undefined ? {} : { signal }),
          ...(failure === undefined ? {} : { failure: this.#inItsWords(failure) }),
          usage: this.#last,
        };
      }
      this.#last = end.usage;
      return { ...this.#death(end), usage: this.#last };
    } finally {
      this.#ended = true;
    }
  }

  /** A guest's runtime tells on standard error why it gave up. */
  #inItsWords(failure: Failure): Failure {
    const words = this.#child.lastWords.split("\n").at(-1)?.trim() ?? "";
    if (words === "" || (failure.code !== "trap" && failure.code !== "out_of_memory")) {
      return failure;
    }
    return { code: failure.code, message: `${failure.message}; it said: ${words}` };
  }

  /** The end of a guest whose child died under it. */
  #death({ died, full }: { died: ProcessEnd; full: boolean }): Omit<AgentExit, "usage"> {
    const signal = died.signal ?? "SIGKILL";
    if (this.#stopped) return { signal };
    if (full || /out of memory|MemoryExhaustion/i.test(this.#child.lastWords)) {
      const message = "the guest's memory outside of its linear memory grew too large";
      return { signal, failure: { code: "out_of_memory", message } };
    }
    if (signal === "SIGXCPU") {
      const message = "the guest used up the CPU time that it may have";
      return { signal, failure: { code: "cpu_limit", message } };
    }
    if (signal === "SIGKILL") return { signal };
    const message = `the engine ended with ${died.signal ?? `exit code ${died.exitCode}`} under the guest`;
    return { signal, failure: { code: "engine_crashed", message } };
  }

  async stop(graceMs: number): Promise<void> {
    if (!this.#ended) {
      this.#stopped = true;
      // A guest can't catch a signal: the first one ends it.
      this.#child.kill("SIGTERM");
      const forced = setTimeout(() => this.#child.kill("SIGKILL"), graceMs);
      await this.exit.catch(() => undefined);
      clearTimeout(forced);
    }
    await this.exit;
  }

  usage(): Promise<Usage> {
    return Promise.resolve(this.#ended ? this.#last : this.#child.usage());
  }
}
