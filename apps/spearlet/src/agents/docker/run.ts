/**
 * A container that runs, followed to its end across losses of the engine: its
 * output goes to the sink without a gap or a repeat, and its exit is what the
 * engine says it is. The container is known by its id alone, so one that an
 * earlier run of the SPEARlet started is followed in the same way.
 */
import { constants } from "node:os";
import type { Readable } from "node:stream";
import { systemClock } from "@spear/shared/clock.ts";
import type { Failure, Usage } from "@spear/shared/task.ts";
import { AgentFailure, type AgentExit, type RunningAttempt } from "../agent.ts";
import { EngineLost, refusalOf, type Engine } from "./engine.ts";
import { demux, SinkFailure, type Output } from "./output.ts";
import type { Meter } from "./usage.ts";

/** What a later run needs to find the container; kept in the journal as JSON. */
export interface Handle {
  id: string;
  name: string;
  /** It has a parent control group of its own, of the same name. */
  group: boolean;
}

export interface RunDeps {
  engine: Engine;
  output: Output;
  meter: Meter;
  /** How long a lost engine is waited for, in milliseconds. */
  lossMs: number;
  /** Size at which the engine's log begins to drop what is oldest. */
  logBytes: number;
  memoryBytes: number;
  /** Aborts when the agent is closed: nothing is followed any more. */
  closed: AbortSignal;
}

/** What the engine knows of a container's end. */
interface End {
  code: number;
  outOfMemory: boolean;
}

const retryMs = 250;
/** A code above it is taken for the signal it stands for; the engine knows no difference. */
const signalBase = 128;
const killedCode = signalBase + constants.signals.SIGKILL;
/** How the container's first process says that it could not run the command. */
const initFatal = /\[FATAL tini \(\d+\)\] exec (.*) failed: (.*)/;
/** Most that the engine's log adds to a message, and the longest message; in bytes. */
const logOverheadBytes = 160;
const longestMessageBytes = 32 * 1024;
const dropped = "the engine's log is full: what it still has is output again";

const signalNames = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name]),
);

/** Why the command did not do its work, where more is known than a code. */
function failureOf(
  { code, outOfMemory }: End,
  memoryBytes: number,
  errorHead: string,
): Failure | undefined {
  if (outOfMemory) {
    const message = `it needed more than its limit of ${memoryBytes} bytes of memory`;
    return { code: "out_of_memory", message };
  }
  const [, command, why] = initFatal.exec(errorHead) ?? [];
  if (command === undefined || (code !== 127 && code !== 126)) return undefined;
  return {
    code: code === 127 ? "command_not_found" : "command_not_executable",
    message: `can't run ${command} in the container: ${why}`,
  };
}

export class ContainerRun implements RunningAttempt {
  readonly pid: number | undefined;
  readonly handle: string;
  readonly exit: Promise<AgentExit>;
  readonly #id: string;
  readonly #deps: RunDeps;
  /** SIGKILL is due, however often it takes to deliver it. */
  #doomed = false;
  #stopped = false;
  #over = false;

  /** `attached`: output from the container's first byte. Without it the engine's log is read. */
  constructor(handle: Handle, pid: number | undefined, deps: RunDeps, attached?: Readable) {
    this.#id = handle.id;
    this.pid = pid;
    this.handle = JSON.stringify(handle);
    this.#deps = deps;
    this.exit = this.#toEnd(attached).finally(() => (this.#over = true));
    // Whoever waits for it gets the error; until someone does, it is no crash.
    this.exit.catch(() => undefined);
  }

  usage(): Promise<Usage> {
    return this.#deps.meter.read();
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    if (graceMs > 0) {
      await this.#signal("SIGTERM");
      const ended = new AbortController();
      const abort = () => ended.abort();
      this.exit.then(abort, abort);
      await systemClock.wait(graceMs, ended.signal).catch(() => undefined);
    }
    this.#doomed = true;
    await this.#signal("SIGKILL");
    await this.exit.catch(() => undefined);
  }

  /** No error if nothing runs any more, or the engine is lost: then `#toEnd` deals with it. */
  async #signal(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    if (this.#over) return;
    try {
      await this.#deps.engine.call((docker) => docker.getContainer(this.#id).kill({ signal }));
    } catch (error) {
      const status = refusalOf(error)?.status;
      if (status !== 404 && status !== 409 && !(error instanceof EngineLost)) throw error;
    }
  }

  async #toEnd(attached: Readable | undefined): Promise<AgentExit> {
    let source = attached;
    for (;;) {
      try {
        if (source !== undefined) return (await this.#follow(source)).exit;
        const wasFull = await this.#repeatIfFull();
        const { exit, bytes } = await this.#follow(await this.#log());
        await this.#makeUp(bytes, wasFull);
        return exit;
      } catch (error) {
        this.#throwIfClosed();
        if (!(error instanceof EngineLost)) throw this.#asFailure(error);
        await this.#engineBack(error);
      }
      source = undefined;
      if (this.#doomed) await this.#signal("SIGKILL");
    }
  }

  /** One connection's worth, and its bytes. Throws `EngineLost` if it breaks before the end. */
  async #follow(source: Readable): Promise<{ exit: AgentExit; bytes: number }> {
    const { output, closed, memoryBytes } = this.#deps;
    const hangUp = () => source.destroy();
    closed.addEventListener("abort", hangUp, { once: true });
    try {
      const copying = this.#read(output.copy(source)).catch(async (error: unknown) => {
        if (!(error instanceof SinkFailure)) throw error;
        // Nobody can see what it does any more, so it ends.
        this.#doomed = true;
        await this.#signal("SIGKILL");
        throw error;
      });
      const [copied, ended] = await Promise.allSettled([copying, this.#ended()]);
      if (ended.status === "rejected") throw ended.reason;
      if (copied.status === "rejected") throw copied.reason;
      const failure = failureOf(ended.value, memoryBytes, output.errorHead);
      const signal = signalNames.get(ended.value.code - signalBase);
      const exit = {
        ...(signal === undefined ? { exitCode: ended.value.code } : { signal }),
        ...(failure === undefined ? {} : { failure }),
        usage: await this.usage(),
      };
      return { exit, bytes: copied.value };
    } finally {
      closed.removeEventListener("abort", hangUp);
      hangUp();
    }
  }

  /** Resolves when the container has ended. */
  async #ended(): Promise<End> {
    const { engine, memoryBytes, closed } = this.#deps;
    const code = await engine.wait(this.#id, closed);
    if (code === 0) return { code, outOfMemory: false };
    const { State } = await engine.call((docker) => docker.getContainer(this.#id).inspect());
    if (State.OOMKilled) return { code, outOfMemory: true };
    // Now and then the engine sees that a container ended but not what of.
    const isKilled = code === killedCode && !this.#stopped;
    const { maxMemoryBytes } = await this.usage();
    return { code, outOfMemory: isKilled && memoryBytes > 0 && maxMemoryBytes >= memoryBytes };
  }

  /** What reads from the engine; that it broke off is a loss of the engine. */
  async #read<T>(reading: Promise<T>): Promise<T> {
    try {
      return await reading;
    } catch (error) {
      if (error instanceof SinkFailure) throw error;
      throw new EngineLost(this.#deps.engine.socketPath, error);
    }
  }

  /** What is in the engine's log, and whether that may have dropped something to have room. */
  async #logged(): Promise<{ bytes: number; isFull: boolean }> {
    const log = await this.#deps.engine.logSoFar(this.#id);
    const count = async () => {
      const sum = { bytes: 0, mostBytes: longestMessageBytes };
      for await (const { bytes, frames } of demux(log)) {
        sum.bytes += bytes.byteLength;
        sum.mostBytes += bytes.byteLength + frames * logOverheadBytes;
      }
      return sum;
    };
    const { bytes, mostBytes } = await this.#read(count());
    return { bytes, isFull: mostBytes > this.#deps.logBytes };
  }

  /** If the log may have dropped its beginning, it is output as it is: better twice than never. */
  async #repeatIfFull(): Promise<boolean> {
    const { isFull } = await this.#logged();
    if (isFull) await this.#deps.output.repeat(dropped);
    return isFull;
  }

  /** The engine's log from what it has of its beginning, followed until the container ends. */
  async #log(): Promise<Readable> {
    const { engine, closed: abortSignal } = this.#deps;
    const streams = { stdout: true, stderr: true, follow: true, abortSignal } as const;
    return (await engine.call((docker) => docker.getContainer(this.#id).logs(streams))) as Readable;
  }

  /**
   * A log that came to be full while it was followed has dropped what was not read in
   * time, and said nothing: what it still has is output once more.
   */
  async #makeUp(readBytes: number, wasFull: boolean): Promise<void> {
    const { engine, output } = this.#deps;
    const { bytes, isFull } = await this.#logged();
    if (bytes === readBytes && isFull === wasFull) return;
    // One that never was full still has all: only what is missing is output.
    if (isFull) await output.repeat(dropped);
    await this.#read(output.copy(await engine.logSoFar(this.#id)));
  }

  #throwIfClosed(): void {
    if (!this.#deps.closed.aborted) return;
    throw new AgentFailure("agent_closed", "the node stopped while the container ran", {
      nodeFault: true,
    });
  }

  /** What the engine refused, as a failure of the node; anything else as it is. */
  #asFailure(error: unknown): unknown {
    const refusal = refusalOf(error);
    if (refusal === undefined) return error;
    return refusal.status === 404
      ? new AgentFailure("container_removed", `somebody removed the container ${this.#id}`, {
          nodeFault: true,
          cause: error,
        })
      : new AgentFailure("engine_error", `Docker Engine: ${refusal.message}`, {
          nodeFault: true,
          cause: error,
        });
  }

  /** Waits until the engine answers again; throws `lost` if that takes too long. */
  async #engineBack(lost: EngineLost): Promise<void> {
    const { engine, lossMs, closed } = this.#deps;
    const deadlineMs = systemClock.nowMs() + lossMs;
    for (;;) {
      try {
        await engine.version();
        return;
      } catch {
        if (systemClock.nowMs() >= deadlineMs) throw lost;
      }
      await systemClock.wait(retryMs, closed).catch(() => this.#throwIfClosed());
    }
  }
}
