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
  type PreparedAttempt,
  type RunningAttempt,
} from "../agent.ts";
import type { ChildProcess, ProcessEnd, RunEnd } from "./childprocess.ts";
import { kindOf } from "./module.ts";
import { ChildPool } from "./pool.ts";
import type { Preopen } from "./preview1/host.ts";
import type { Job } from "./protocol.ts";
import { moduleObject, programName, type FetchModule } from "./source.ts";

export interface WasmAgentOptions {
  fetchModule: FetchModule;
  /** Children kept ready. Default 2. */
  idle?: number;
  /** Most children at once. Default 256. */
  max?: number;
  /** Most CPU time of an attempt, in seconds. Default: no limit. */
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
const reapTimeoutMs = 10_000;
const reapCheckMs = 10;

export class WasmAgent implements Agent {
  readonly runtime = "wasm";
  readonly #options: WasmAgentOptions;
  readonly #pool: ChildPool;

  constructor(options: WasmAgentOptions) {
    this.#options = options;
    this.#pool = new ChildPool({ idle: options.idle ?? 2, max: options.max ?? 256 });
  }

  /** Bun's version, once a child has started. */
  async probe(): Promise<string | undefined> {
    const child = await this.#pool
      .acquire(AbortSignal.timeout(reapTimeoutMs))
      .catch(() => undefined);
    if (child === undefined) return undefined;
    this.#pool.giveBack(child);
    return `bun ${Bun.version}`;
  }

  async prepare(context: AttemptContext, signal: AbortSignal): Promise<PreparedAttempt> {
    const job = await this.#job(context, signal);
    const key = this.#options.reuseKey?.(context);
    const child = await this.#pool.acquire(signal, key);
    let started = false;
    return {
      start: () => {
        started = true;
        const ended = this.#run(child, { ...job, reuse: key !== undefined }, context, key);
        return Promise.resolve(new RunningWasm(child, ended));
      },
      cleanup: () => {
        if (!started) this.#pool.giveBack(child);
        started = true;
        return Promise.resolve();
      },
    };
  }

  /** What the child is told; throws `AgentFailure` for a module that is none. */
  async #job(context: AttemptContext, signal: AbortSignal): Promise<Omit<Job, "reuse">> {
    const { spec, limits } = context;
    const module = await this.#options.fetchModule(moduleObject(spec), signal);
    const kind = kindOf(await firstBytes(module.path));
    if (kind === undefined) {
      throw new AgentFailure("invalid_module", `${spec.wasm?.module} is no WebAssembly module`);
    }
    return {
      module: module.path,
      engine: "direct",
      args: [programName(spec), ...(spec.wasm?.args ?? [])],
      env: { ...context.env },
      stdin: Buffer.from(context.stdin).toString("base64"),
      preopens: this.#options.preopens?.(context) ?? [
        { guest: "/", host: context.workDir, readOnly: false },
      ],
      memoryBytes: limits.memoryBytes === 0 ? maxMemoryBytes : limits.memoryBytes,
      ...(this.#options.cpuSeconds === undefined ? {} : { cpuSeconds: this.#options.cpuSeconds }),
    };
  }

  async #run(
    child: ChildProcess,
    job: Job,
    context: AttemptContext,
    key: string | undefined,
  ): Promise<RunEnd> {
    let end: RunEnd | undefined;
    try {
      end = await child.run(job, context.output);
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
