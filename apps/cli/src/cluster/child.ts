/**
 * One child process of a cluster: started, watched, started again when it dies,
 * stopped. A child is the leader of its own session, so that Ctrl-C reaches only
 * us and we choose the order; it holds the other end of a pipe on its standard
 * input, so that it ends when we do, however that happens.
 */
import { systemClock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { Subprocess } from "bun";
import { linesOf } from "../lines.ts";

const maxLineLength = 64 * 1024;
const firstDelayMs = 200;
const longestDelayMs = 10_000;
/** Alive for so long, it counts as well: the next delay is the first again. */
const wellAfterMs = 20_000;
const readyWithinMs = 30_000;
/** What it wrote last is there by then, even if a child of its own keeps the pipe open. */
const lastWordsMs = 500;
/** Lines kept from before it was ready, to say why it did not get there. */
const maxKeptLines = 50;

export type Phase = "starting" | "running" | "stopping";

export interface ChildOptions {
  name: string;
  /** Asked at each start. */
  command: () => string[];
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  /** Between SIGTERM and SIGKILL. */
  graceMs: number;
  /** Takes each line that it writes but the ready line. */
  onLine: (line: string, phase: Phase) => void;
  /** Says that it died and is started again. */
  onTrouble: (message: string) => void;
  /**
   * Resolves once it works; called at each start. `readyLine` is the line of JSON by
   * which our programs say so.
   */
  ready: (pid: number, readyLine: Promise<string>, signal: AbortSignal) => Promise<void>;
}

type Process = Subprocess<"pipe", "pipe", "pipe">;

interface Run {
  process: Process;
  /** The line of JSON by which a program says that it is ready. */
  readyLine: Promise<string>;
  /** Resolves when all that it wrote was taken. */
  said: Promise<unknown>;
}

const isReadyLine = (line: string) => line.startsWith('{"ready":true');

async function read(
  stream: ReadableStream<Uint8Array>,
  take: (line: string) => void,
): Promise<void> {
  for await (const line of linesOf(stream, maxLineLength)) if (line !== "") take(line);
}

export class Child {
  readonly #options: ChildOptions;
  readonly #stopping = new AbortController();
  #process: Process | undefined;
  #phase: Phase = "starting";
  #watching: Promise<void> | undefined;

  constructor(options: ChildOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts it; resolves when it is ready. Throws `unavailable` with what it said. */
  async start(): Promise<void> {
    const kept: string[] = [];
    const run = this.#spawn(kept);
    try {
      await this.#untilReady(run);
    } catch (error) {
      await this.#end(run.process);
      await Promise.race([run.said, systemClock.wait(lastWordsMs)]);
      const said = kept.findLast((line) => line.startsWith("error: "))?.slice("error: ".length);
      const help = kept[kept.findLastIndex((line) => line.startsWith("error: ")) + 1]?.trim();
      throw new Fault(
        "unavailable",
        `${this.name} did not start: ${said ?? kept.at(-1) ?? (error as Error).message}`,
        { ...(said === undefined || help === undefined ? {} : { help }), cause: error },
      );
    }
    this.#watching = this.#watch(run.process);
  }

  #spawn(kept?: string[]): Run {
    const { command, env, cwd, onLine } = this.#options;
    const [program = "", ...args] = command();
    const process = Bun.spawn([program, ...args], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
      env: { ...env, SPEAR_LIFELINE: "stdin" },
      cwd,
    });
    this.#process = process;
    this.#phase = "starting";
    const take = (line: string) => {
      if (kept !== undefined && kept.length < maxKeptLines) kept.push(line);
      onLine(line, this.#phase);
    };
    const given = Promise.withResolvers<string>();
    const said = Promise.all([
      read(process.stderr, take),
      read(process.stdout, (line) => {
        if (isReadyLine(line)) given.resolve(line);
        else take(line);
      }),
    ]);
    return { process, readyLine: given.promise, said };
  }

  /** Waits for `ready`; throws if the process ends first or takes too long. */
  async #untilReady({ process, readyLine }: Run): Promise<void> {
    const over = new AbortController();
    const timeout = systemClock.wait(readyWithinMs, over.signal).then(() => {
      throw new Error(`it was not ready within ${readyWithinMs / 1_000} s`);
    });
    const died = process.exited.then(() => {
      throw new Error(`it ${endOf(process)}`);
    });
    const signal = AbortSignal.any([over.signal, this.#stopping.signal]);
    const ready = this.#options.ready(process.pid, readyLine, signal);
    try {
      await Promise.race([ready, timeout, died]);
      this.#phase = "running";
    } finally {
      for (const promise of [ready, timeout, died]) promise.catch(() => undefined);
      over.abort(new Error("no longer waited for"));
    }
  }

  /** Starts it again whenever it ends, until `stop`. */
  async #watch(first: Process): Promise<void> {
    const { signal } = this.#stopping;
    let process = first;
    let delayMs = firstDelayMs;
    for (;;) {
      const startedAt = performance.now();
      await process.exited;
      if (signal.aborted) return;
      if (performance.now() - startedAt > wellAfterMs) delayMs = firstDelayMs;
      this.#options.onTrouble(`${endOf(process)}; starting it again in ${delayMs} ms`);
      try {
        await systemClock.wait(delayMs, signal);
      } catch {
        return;
      }
      delayMs = Math.min(delayMs * 2, longestDelayMs);
      const run = this.#spawn();
      process = run.process;
      try {
        await this.#untilReady(run);
        this.#options.onTrouble("runs again");
      } catch {
        await this.#end(process);
      }
    }
  }

  async #end(process: Process): Promise<void> {
    process.kill("SIGTERM");
    const patience = new AbortController();
    await Promise.race([
      process.exited,
      systemClock.wait(this.#options.graceMs, patience.signal).catch(() => undefined),
    ]);
    patience.abort();
    process.kill("SIGKILL");
    await process.exited;
  }

  /** SIGTERM, then SIGKILL after its grace; resolves when it is gone. */
  async stop(): Promise<void> {
    this.#phase = "stopping";
    this.#stopping.abort(new Error("the cluster stops"));
    if (this.#process !== undefined) await this.#end(this.#process);
    await this.#watching;
  }

  /** Ends it at once. */
  kill(): void {
    this.#stopping.abort(new Error("the cluster is killed"));
    this.#process?.kill("SIGKILL");
  }
}

function endOf(process: Process): string {
  return process.signalCode === null
    ? `ended with code ${process.exitCode}`
    : `was ended by ${process.signalCode}`;
}
