/**
 * ProcessAgent: runs a command as a process in a session of its own with a clean
 * environment, and ends the whole tree of what it started (T6).
 */
import { readFileSync } from "node:fs";
import type { Usage } from "@spear/shared/task.ts";
import { isAlive, processInfo, signal } from "../machine/proc.ts";
import {
  AgentFailure,
  type Agent,
  type AgentExit,
  type AttemptContext,
  type PreparedAttempt,
  type RunningAttempt,
} from "./agent.ts";
import { OutputPipe } from "./process/pipe.ts";
import { killTree, type TreeRoot } from "./process/tree.ts";

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** How long output may still come when every process that was found has ended. */
const drainTimeoutMs = 1_000;

export class ProcessAgent implements Agent {
  readonly runtime = "process";

  probe(): Promise<string> {
    return Promise.resolve(readFileSync("/proc/sys/kernel/osrelease", "utf8").trim());
  }

  prepare(context: AttemptContext): Promise<PreparedAttempt> {
    return Promise.resolve({
      start: () => Promise.resolve(new RunningProcess(context)),
      cleanup: () => Promise.resolve(),
    });
  }

  async reap(handle: string): Promise<void> {
    await killTree(JSON.parse(handle) as TreeRoot);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

class RunningProcess implements RunningAttempt {
  readonly exit: Promise<AgentExit>;
  readonly #child: ReturnType<typeof spawn>;
  readonly #root: TreeRoot;

  constructor(context: AttemptContext) {
    const stdout = new OutputPipe();
    const stderr = new OutputPipe();
    const output = [
      stdout.drain((bytes) => context.output.write("stdout", bytes)),
      stderr.drain((bytes) => context.output.write("stderr", bytes)),
    ];
    try {
      this.#child = spawn(context, stdout.writeEnd, stderr.writeEnd);
    } finally {
      stdout.started();
      stderr.started();
    }
    const { pid } = this.#child;
    const startTicks = processInfo(pid)?.startTicks ?? 0;
    this.#root = {
      taskId: context.taskId,
      attempt: context.attempt,
      root: { pid, startTicks },
    };
    this.exit = this.#toExit(output, [stdout, stderr]);
  }

  get pid(): number {
    return this.#child.pid;
  }

  get handle(): string {
    return JSON.stringify(this.#root);
  }

  async #toExit(output: Promise<void>[], pipes: OutputPipe[]): Promise<AgentExit> {
    await this.#child.exited;
    // What it started in the background ends with it, and lets go of the pipes.
    await killTree(this.#root);
    const late = setTimeout(() => {
      for (const pipe of pipes) void pipe.cancel();
    }, drainTimeoutMs);
    await Promise.allSettled(output);
    clearTimeout(late);
    const { exitCode, signalCode } = this.#child;
    return {
      ...(signalCode === null ? { exitCode: exitCode ?? 0 } : { signal: String(signalCode) }),
      usage: await this.usage(),
    };
  }

  async stop(graceMs: number): Promise<void> {
    const { pid } = this.#child;
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      signal(-pid, "SIGTERM");
      const forced = setTimeout(() => {
        if (isAlive(this.#root.root)) void killTree(this.#root);
      }, graceMs);
      await this.#child.exited;
      clearTimeout(forced);
    }
    await this.exit;
  }

  usage(): Promise<Usage> {
    const used = this.#child.resourceUsage();
    return Promise.resolve({
      cpuMs: Math.round(Number(used?.cpuTime.total ?? 0) / 1000),
      maxMemoryBytes: used?.maxRSS ?? 0,
    });
  }
}

function spawn({ spec, env, stdin, workDir }: AttemptContext, stdout: number, stderr: number) {
  const [program = "", ...args] = spec.process?.command ?? [];
  try {
    return Bun.spawn([program, ...args], {
      cwd: workDir,
      env: { PATH: defaultPath, HOME: workDir, TMPDIR: workDir, ...env },
      stdin: stdin.byteLength === 0 ? "ignore" : stdin,
      stdout,
      stderr,
      detached: true,
    });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") {
      throw new AgentFailure("command_not_found", `there is no command ${program}`);
    }
    if (code === "EACCES" || code === "ENOEXEC") {
      throw new AgentFailure("command_not_executable", `${program} can't be executed: ${code}`);
    }
    if (code === "E2BIG") {
      throw new AgentFailure("command_too_long", "arguments and environment are too long");
    }
    throw new AgentFailure("spawn_failed", `the node can't start a process: ${code ?? ""}`, {
      nodeFault: true,
      cause: error,
    });
  }
}
