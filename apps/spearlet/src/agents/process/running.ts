/** One command that runs: its output, its end, and the end of all that it started. */
import { fchownSync } from "node:fs";
import { systemClock } from "@spear/shared/clock.ts";
import type { Failure, Usage } from "@spear/shared/task.ts";
import type { AttemptId } from "../../executions/attempt.ts";
import { limitProcess } from "../../machine/libc.ts";
import { processInfo, signal } from "../../machine/proc.ts";
import {
  AgentFailure,
  type AgentExit,
  type AttemptContext,
  type RunningAttempt,
} from "../agent.ts";
import type { Lane } from "./lane.ts";
import type { Launch } from "./launch.ts";
import { OutputPipes } from "./pipe.ts";
import { killTree, treeOf, type TreeRoot } from "./tree.ts";

/** How long output may still come when every process that was found has ended. */
const drainTimeoutMs = 1_000;
const graceCheckMs = 10;
const longestPauseMs = 1_000;

/** What a later run needs to end what this one left. */
export type ProcessHandle = TreeRoot | { groups: string[] };

export class RunningProcess implements RunningAttempt {
  readonly exit: Promise<AgentExit>;
  readonly id: AttemptId;
  readonly #child: ReturnType<typeof spawn>;
  readonly #lane: Lane | undefined;
  /** Where there is no lane, its processes are found from here. */
  readonly #root: TreeRoot | undefined;
  readonly #wrapped: boolean;
  readonly #memoryBytes: number;
  /** When the grace that was given ends; by the clock that only goes forward. */
  #graceEndsMs: number | undefined;
  /** Processes that were sent SIGTERM. */
  readonly #told = new Set<number>();

  /** Throws `AgentFailure` if the command can't be started. */
  constructor(context: AttemptContext, launch: Launch, lane: Lane | undefined) {
    const { taskId, attempt, output, limits } = context;
    this.id = { taskId, attempt };
    this.#lane = lane;
    this.#wrapped = launch.wrapped;
    this.#memoryBytes = limits.memoryBytes;
    const pipes = new OutputPipes((stream, bytes) => output.write(stream, bytes));
    try {
      this.#child = spawn(context, launch, lane, pipes.writeEnds);
    } catch (error) {
      pipes.close();
      throw error;
    } finally {
      pipes.closeWriteEnds();
    }
    const { pid } = this.#child;
    lane?.enroll(pid);
    if (lane?.limits("memory") !== true && this.#memoryBytes > 0) {
      limitProcess(pid, "data", this.#memoryBytes);
    }
    if (lane === undefined) {
      const startTicks = processInfo(pid)?.startTicks ?? 0;
      this.#root = { ...this.id, root: { pid, startTicks } };
    }
    this.exit = this.#toExit(pipes);
  }

  get pid(): number {
    return this.#child.pid;
  }

  get handle(): string {
    const handle: ProcessHandle | undefined = this.#root ?? { groups: this.#lane?.dirs ?? [] };
    return JSON.stringify(handle);
  }

  async #toExit(pipes: OutputPipes): Promise<AgentExit> {
    const allEnded = Promise.withResolvers<void>();
    // What the sink refuses to keep is lost, and the attempt's end is what it is.
    const drained = pipes.drain(allEnded.promise).catch(() => undefined);
    try {
      await this.#child.exited;
      await this.#lastWords();
      // What it started in the background ends with it, and lets go of the pipes.
      await this.#killAll();
    } finally {
      allEnded.resolve();
    }
    const late = setTimeout(() => pipes.cancel(), drainTimeoutMs);
    await drained;
    clearTimeout(late);
    const { exitCode, signalCode } = this.#child;
    const failure = exitCode === 0 ? undefined : this.#shortage();
    return {
      ...(signalCode === null ? { exitCode: exitCode ?? 0 } : { signal: String(signalCode) }),
      ...(failure === undefined ? {} : { failure }),
      usage: await this.usage(),
    };
  }

  /** Lets what is told to end together with the command have its grace to the end. */
  async #lastWords(): Promise<void> {
    const startMs = performance.now();
    let againMs = graceCheckMs;
    while (this.#graceEndsMs !== undefined && performance.now() < this.#graceEndsMs) {
      if (performance.now() - startMs >= againMs) {
        // A process that was just being started by another may have lost the signal.
        this.#told.clear();
        againMs *= 10;
      }
      const members = this.#members();
      if (members.length === 0) return;
      this.#tell(members);
      await systemClock.wait(graceCheckMs);
    }
  }

  /**
   * Sends SIGTERM to all, and to whom the first look did not find: version 1 of the
   * groups leaves some out while others are started.
   */
  async #tellAll(): Promise<void> {
    let pauseMs = graceCheckMs;
    while (this.#isRunning() && performance.now() < (this.#graceEndsMs ?? 0)) {
      this.#tell([this.pid, ...this.#members()]);
      await Promise.race([this.#child.exited, systemClock.wait(pauseMs)]);
      pauseMs = Math.min(pauseMs * 2, longestPauseMs);
    }
  }

  /** Sends SIGTERM to those that did not get it yet. */
  #tell(pids: readonly number[]): void {
    for (const pid of pids) {
      if (this.#told.has(pid) || (this.#wrapped && pid === this.pid)) continue;
      this.#told.add(pid);
      signal(pid, "SIGTERM");
    }
  }

  #isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Every process of the attempt. */
  #members(): number[] {
    if (this.#lane !== undefined) return this.#lane.members();
    return this.#root === undefined ? [] : treeOf(this.#root).map(({ pid }) => pid);
  }

  async #killAll(): Promise<void> {
    await this.#lane?.kill();
    if (this.#root !== undefined) await killTree(this.#root);
  }

  /** Why the kernel ended it, if it did. */
  #shortage(): Failure | undefined {
    if (this.#lane?.ranOutOfMemory() !== true) return undefined;
    const message = `it needed more memory than its limit of ${this.#memoryBytes} bytes`;
    return { code: "out_of_memory", message };
  }

  async stop(graceMs: number): Promise<void> {
    if (this.#isRunning()) {
      const first = this.#graceEndsMs === undefined;
      this.#graceEndsMs = performance.now() + graceMs;
      if (first) void this.#tellAll();
      const forced = setTimeout(() => void this.#killAll().catch(() => undefined), graceMs);
      await this.exit.finally(() => clearTimeout(forced));
    }
    await this.exit;
  }

  usage(): Promise<Usage> {
    const used = this.#child.resourceUsage();
    return Promise.resolve({
      cpuMs: this.#lane?.cpuMs() ?? Math.round(Number(used?.cpuTime.total ?? 0) / 1000),
      // What the platform says may be the parent's, before the command took its place.
      maxMemoryBytes: this.#lane?.peakBytes() ?? 0,
    });
  }
}

function spawn(
  { stdin, workDir }: AttemptContext,
  { argv, env, account, wrapped }: Launch,
  lane: Lane | undefined,
  [stdout, stderr]: readonly [number, number],
) {
  const program = argv[0] ?? "";
  if (account !== undefined) {
    // So that it can open /dev/stdout by name.
    for (const end of [stdout, stderr]) fchownSync(end, account.uid, account.gid);
  }
  try {
    return Bun.spawn(argv, {
      cwd: workDir,
      env,
      stdin: stdin.byteLength === 0 ? "ignore" : stdin,
      stdout,
      stderr,
      detached: true,
      ...(lane === undefined ? {} : { cgroup: lane.dir }),
      // A sandbox becomes the user itself, when it has built what the user sees.
      ...(account === undefined || wrapped ? {} : account),
    });
  } catch (error) {
    const { code = "", syscall } = error as NodeJS.ErrnoException;
    if (syscall !== "open") {
      if (code === "ENOENT") {
        throw new AgentFailure("command_not_found", `there is no command ${program}`);
      }
      if (code === "EACCES" || code === "ENOEXEC") {
        throw new AgentFailure("command_not_executable", `${program} can't be executed: ${code}`);
      }
      if (code === "E2BIG") {
        throw new AgentFailure("command_too_long", "arguments and environment are too long");
      }
    }
    throw new AgentFailure("spawn_failed", `the node can't start a process: ${code}`, {
      nodeFault: true,
      cause: error,
    });
  }
}
