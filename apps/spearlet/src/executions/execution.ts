/**
 * One attempt on this node, from the claim to the acknowledged report:
 * claim → inputs → prepare → start → exit → outputs → report → cleanup.
 * It starts only after SMS has granted the claim (T3), reports exactly one end,
 * and leaves neither process nor directory behind (T6).
 */
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { taskStateToProto } from "@spear/proto/enums.ts";
import type { AttemptExit } from "@spear/proto/gen/spear/sms/v1/node.ts";
import type { HostcallUse } from "@spear/shared/audit.ts";
import { systemClock } from "@spear/shared/clock.ts";
import type { NodeId } from "@spear/shared/ids.ts";
import { aborted } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import {
  specDefaults,
  type Failure,
  type OutputObject,
  type TaskSpec,
} from "@spear/shared/task.ts";
import {
  AgentFailure,
  type Agent,
  type AgentExit,
  type AttemptContext,
  type PreparedAttempt,
  type RunningAttempt,
} from "../agents/agent.ts";
import type { FinalBody } from "../control/reports.ts";
import type { Hosts, OpenHost } from "../hostcalls/hosts.ts";
import type { Journal } from "../journal.ts";
import type { NodeObjects } from "../objects/objects.ts";
import { Recording } from "../recordings/recording.ts";
import { attemptKey, type AttemptId } from "./attempt.ts";
import type { AttemptLog } from "./attemptlog.ts";
import type { LogStore } from "./logs.ts";
import type { Execution as ExecutionView, Phase } from "./schema.ts";
import type { Staging } from "./staging.ts";

/** Why an attempt is ended from outside. */
export type StopReason =
  | "cancelled"
  | "timed_out"
  | "disowned"
  | "node_stops"
  | "too_slow"
  | "lease_lost";

/** What a later run of the SPEARlet needs to take over from this one, or clean up after it. */
export interface LeftBehind extends AttemptId {
  runtime: Agent["runtime"];
  handle: string;
  /** Without its secrets and standard input, which the command has already. */
  spec: TaskSpec;
  startedAtMs: number;
}

/** How SMS learns of an attempt. */
export interface Upstream {
  claim(id: AttemptId, signal: AbortSignal): Promise<boolean>;
  deliver(id: AttemptId, body: FinalBody): Promise<void>;
}

export interface ExecutionDeps {
  upstream: Upstream;
  staging: Staging;
  /** Told of each spec whose command may start: what it needs is here now. */
  prepared: (spec: TaskSpec) => void;
  logs: LogStore;
  hosts: Pick<Hosts, "open">;
  /** Where recordings go. */
  objects: Pick<NodeObjects, "ensureBucket" | "put">;
  running: Journal<LeftBehind>;
  nodeId: NodeId;
  /** Parent of the work directories. */
  workDir: string;
  /** Where work directories go that are to be kept. */
  keptDir: string;
  /** Grace when the node stops, in milliseconds. */
  stopGraceMs: number;
  /** Longest time before the command starts, in milliseconds. */
  prepareTimeoutMs: number;
  /** True while nobody else can have been given what this node holds. */
  owned: () => boolean;
  log: Log;
}

/**
 * How an attempt left the node: `unclaimed` was not started because the node
 * stops, and its queue entry is for the node's next run.
 */
export type Outcome =
  | { left: "done" }
  | { left: "failed"; message: string }
  | { left: "unclaimed" };

/** A command that runs, and how to remove what it leaves outside its work directory. */
interface Begun {
  running: RunningAttempt;
  cleanup: () => Promise<void>;
}

type End = Pick<AttemptExit, "nodeFault"> & {
  state: "succeeded" | "failed" | "timed_out" | "cancelled";
  exit?: AgentExit;
  failure?: Failure;
  outputs?: OutputObject[];
};

export class Execution {
  readonly id: AttemptId;
  readonly spec: TaskSpec;
  readonly #agent: Agent;
  readonly #deps: ExecutionDeps;
  readonly #acceptedAtMs = systemClock.nowMs();
  /** Aborts what the attempt waits for, except its command. */
  readonly #stopping = new AbortController();
  #reason: StopReason | undefined;
  #running: RunningAttempt | undefined;
  #host: OpenHost | undefined;
  #recording: Recording | undefined;
  #adopted: { log: AttemptLog; begun: Begun } | undefined;
  #phase: Phase = "claiming";
  #startedAtMs: number | undefined;
  #endedAtMs: number | undefined;
  #end: End | undefined;
  #silent = false;
  #changed = Promise.withResolvers<void>();

  constructor(id: AttemptId, spec: TaskSpec, agent: Agent, deps: ExecutionDeps) {
    this.id = id;
    this.spec = spec;
    this.#agent = agent;
    this.#deps = deps;
  }

  /** Resolves at the next change of `view()`. */
  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  /** Resolves when SMS has decided whether the attempt starts. */
  async decided(signal: AbortSignal): Promise<void> {
    const gone = aborted(signal);
    while (this.#phase === "claiming" && !signal.aborted) {
      await Promise.race([this.changed, gone]);
    }
  }

  /** It must never run twice at once. */
  get exclusive(): boolean {
    return this.spec.exclusive === true;
  }

  get ended(): boolean {
    return this.#phase === "ended";
  }

  view(): ExecutionView {
    const { exit, state, failure } = this.#end ?? {};
    return {
      ...this.id,
      runtime: this.#agent.runtime,
      phase: this.#phase,
      acceptedAtMs: this.#acceptedAtMs,
      ...(this.#running?.pid === undefined ? {} : { pid: this.#running.pid }),
      ...(this.#startedAtMs === undefined ? {} : { startedAtMs: this.#startedAtMs }),
      ...(this.#endedAtMs === undefined ? {} : { endedAtMs: this.#endedAtMs }),
      ...(state === undefined ? {} : { state }),
      ...(exit?.exitCode === undefined ? {} : { exitCode: exit.exitCode }),
      ...(exit?.signal === undefined ? {} : { signal: exit.signal }),
      ...(failure === undefined ? {} : { failure }),
    };
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /**
   * Ends the attempt; the first reason counts, except that what was taken away
   * stays away. The command gets SIGTERM, then SIGKILL after the grace.
   */
  stop(reason: StopReason): void {
    if (this.#phase === "ended") return;
    if (this.#reason === undefined || reason === "disowned") this.#reason = reason;
    // Whether SMS granted the claim decides if there is an end to report.
    if (this.#phase === "claiming" && reason === "cancelled") return;
    this.#stopping.abort(new Error(reason));
    // Before its command has gone: it does not count any more.
    if (reason === "disowned") void this.#host?.[Symbol.asyncDispose]();
    if (this.#running === undefined) return;
    if (this.#phase === "running") this.#enter("stopping");
    this.#running.stop(this.#graceMs()).catch((error: unknown) => {
      this.#deps.log.error({ err: error, ...this.id }, "attempt can't be stopped");
    });
  }

  #graceMs(): number {
    const asked = this.spec.graceMs ?? specDefaults.graceMs;
    if (this.#reason === "disowned" || this.#reason === "lease_lost") return 0;
    return this.#reason === "node_stops" ? Math.min(asked, this.#deps.stopGraceMs) : asked;
  }

  /**
   * Runs the attempt to its end. Resolves when nothing is left of it and SMS has
   * its report.
   */
  async run(): Promise<Outcome> {
    const { upstream, logs } = this.#deps;
    const granted = await upstream.claim(this.id, this.#stopping.signal).catch(() => undefined);
    if (granted !== true) {
      const waits = granted === undefined && this.#reason === "node_stops";
      this.#reason = "disowned";
      this.#enter("ended");
      return { left: waits ? "unclaimed" : "done" };
    }
    // The answer may be of a lease that has ended meanwhile.
    if (this.exclusive && !this.#deps.owned()) this.#reason ??= "lease_lost";
    if (this.#reason !== undefined) this.#stopping.abort(new Error(this.#reason));
    const log = logs.create(this.id, this.#maxLogBytes);
    return this.#report(await this.#toEnd(log, () => this.#begin(log)));
  }

  /**
   * Takes over what an earlier run of the SPEARlet left running; false if its agent
   * can't. Then `resume` takes the place of `run`.
   */
  async adopt({ handle, startedAtMs }: LeftBehind): Promise<boolean> {
    if (this.#agent.adopt === undefined) return false;
    const log = this.#deps.logs.resume(this.id, this.#maxLogBytes);
    const running = await this.#agent.adopt(handle, this.#context(log)).catch((error: unknown) => {
      this.#deps.log.warn({ err: error, ...this.id }, "attempt can't be adopted");
      return undefined;
    });
    if (running === undefined) {
      await this.#deps.logs.end(log);
      return false;
    }
    await this.#openHost(log).catch((error: unknown) => {
      this.#deps.log.warn({ err: error, ...this.id }, "an adopted attempt has no hostcalls");
    });
    this.#startedAtMs = startedAtMs;
    this.#adopted = { log, begun: { running, cleanup: () => this.#agent.reap(handle) } };
    return true;
  }

  /** Follows an adopted attempt to its end, as `run` does. */
  async resume(): Promise<Outcome> {
    if (this.#adopted === undefined) throw new TypeError("nothing was adopted");
    const { log, begun } = this.#adopted;
    return this.#report(await this.#toEnd(log, () => Promise.resolve(begun)));
  }

  async #report(end: End): Promise<Outcome> {
    this.#end = end;
    this.#endedAtMs = systemClock.nowMs();
    this.#enter("ended");
    const { upstream, running } = this.#deps;
    if (this.#reason === "disowned") {
      running.delete(attemptKey(this.id));
      return { left: "done" };
    }
    const delivered = upstream.deliver(this.id, {
      $case: "exit",
      value: exitReport(end, this.#silent, this.#host?.session.uses() ?? []),
    });
    // Only now, when the end is kept on disk.
    running.delete(attemptKey(this.id));
    await delivered;
    if (end.state === "succeeded") return { left: "done" };
    return { left: "failed", message: end.failure?.message ?? end.state };
  }

  get #maxLogBytes(): number {
    return this.spec.maxLogBytes ?? specDefaults.maxLogBytes;
  }

  /** Empty if the attempt needs none. */
  get #workDir(): string {
    return this.#needsWorkDir() ? join(this.#deps.workDir, attemptKey(this.id)) : "";
  }

  /** Everything from the command's start to its outputs; leaves nothing behind. */
  async #toEnd(log: AttemptLog, begin: () => Promise<Begun>): Promise<End> {
    let begun: Begun | undefined;
    try {
      begun = await begin();
      const exit = await this.#follow(begun.running);
      await this.#host?.[Symbol.asyncDispose]();
      await this.#storeRecording(exit, log);
      return await this.#judge(exit);
    } catch (error) {
      return this.#failed(error);
    } finally {
      await this.#cleanUp(begun, log);
    }
  }

  /** Inputs, preparation and start. */
  async #begin(log: AttemptLog): Promise<Begun> {
    const workDir = this.#workDir;
    if (workDir !== "") await mkdir(workDir, { recursive: true, mode: 0o700 });
    await this.#openHost(log);
    const prepared = await this.#prepare(this.#context(log));
    const cleanup = () => prepared.cleanup();
    try {
      this.#stopping.signal.throwIfAborted();
      const running = await prepared.start();
      this.#startedAtMs = systemClock.nowMs();
      this.#note(running);
      return { running, cleanup };
    } catch (error) {
      await cleanup();
      throw error;
    }
  }

  /** Opens what the spec grants: a pipe for a guest, a socket for others. */
  async #openHost(log: AttemptLog): Promise<void> {
    const dir = this.#agent.runtime === "wasm" ? undefined : this.#workDir;
    if (dir === "") return;
    this.#host = await this.#deps.hosts.open(this.id, this.spec, log, dir);
  }

  /** Lets a later run find the attempt. */
  #note({ handle }: RunningAttempt): void {
    if (this.#agent.inProcess === true) return;
    const { secrets: _secrets, stdin: _stdin, ...spec } = this.spec;
    this.#deps.running.set(attemptKey(this.id), {
      ...this.id,
      runtime: this.#agent.runtime,
      handle,
      spec,
      startedAtMs: this.#startedAtMs ?? 0,
    });
  }

  #needsWorkDir(): boolean {
    const { inputs = [], outputs = [] } = this.spec;
    return this.#agent.inProcess !== true || inputs.length > 0 || outputs.length > 0;
  }

  #context(output: AttemptLog): AttemptContext {
    const { spec } = this;
    return {
      ...this.id,
      spec,
      workDir: this.#workDir,
      kept: { stdout: output.endOf("stdout"), stderr: output.endOf("stderr") },
      env: {
        ...spec.env,
        ...spec.secrets,
        SPEAR_TASK_ID: this.id.taskId,
        SPEAR_ATTEMPT: String(this.id.attempt),
        SPEAR_NODE_ID: this.#deps.nodeId,
        ...this.#host?.env,
      },
      stdin: Buffer.from(spec.stdin ?? "", "base64"),
      output,
      ...(this.#host === undefined ? {} : { host: this.#host.session }),
      limits: {
        cpu: spec.resources?.cpu ?? specDefaults.cpu,
        memoryBytes: spec.resources?.memoryBytes ?? specDefaults.memoryBytes,
        pids: spec.resources?.pids,
      },
    };
  }

  async #prepare(context: AttemptContext): Promise<PreparedAttempt> {
    const { signal } = this.#stopping;
    signal.throwIfAborted();
    const tooSlow = setTimeout(() => this.stop("too_slow"), this.#deps.prepareTimeoutMs);
    try {
      const { inputs = [] } = this.spec;
      if (inputs.length > 0) {
        this.#enter("staging");
        await this.#deps.staging.fetchInputs(inputs, context.workDir, signal);
      }
      const prepared = await this.#agent.prepare(await this.#recorded(context), signal);
      this.#deps.prepared(this.spec);
      return prepared;
    } finally {
      clearTimeout(tooSlow);
    }
  }

  /** The same with a recording, if the spec asks for one. */
  async #recorded(context: AttemptContext): Promise<AttemptContext> {
    if (this.spec.record !== true) return context;
    const { spec, env, workDir, output } = context;
    const path = join(this.#deps.workDir, `${attemptKey(this.id)}.tape`);
    this.#recording = await Recording.begin({ id: this.id, spec, env, workDir, output }, path);
    return { ...context, output: this.#recording.output, tape: { record: this.#recording } };
  }

  /** Stores the recording before the end is told; without it the task has ended all the same. */
  async #storeRecording(exit: AgentExit, log: AttemptLog): Promise<void> {
    if (this.#recording === undefined) return;
    try {
      await this.#recording.store(exit, this.#deps.objects, this.#stopping.signal);
    } catch (error) {
      this.#deps.log.warn({ err: error, ...this.id }, "a recording can't be stored");
      await log.write("system", Buffer.from("the recording could not be stored\n"));
    }
  }

  async #follow(running: RunningAttempt): Promise<AgentExit> {
    this.#running = running;
    this.#enter("running");
    // What was asked while it started.
    if (this.#reason !== undefined) this.stop(this.#reason);
    const { timeoutMs = 0 } = this.spec;
    const ranMs = systemClock.nowMs() - (this.#startedAtMs ?? 0);
    const timeout =
      timeoutMs > 0 ? after(timeoutMs - ranMs, () => this.stop("timed_out")) : undefined;
    try {
      return await running.exit;
    } finally {
      timeout?.[Symbol.dispose]();
    }
  }

  async #judge(exit: AgentExit): Promise<End> {
    if (this.#reason !== undefined) return this.#stopped(exit);
    if (exit.failure !== undefined) {
      return { state: "failed", exit, failure: exit.failure, nodeFault: false };
    }
    if (exit.exitCode !== 0) {
      const failure =
        exit.signal === undefined
          ? { code: "exit_code", message: `the command exited with code ${exit.exitCode}` }
          : { code: "signal", message: `the command was ended by ${exit.signal}` };
      return { state: "failed", exit, failure, nodeFault: false };
    }
    const { outputs: wanted = [] } = this.spec;
    if (wanted.length === 0) return { state: "succeeded", exit, nodeFault: false };
    this.#enter("collecting");
    try {
      const { staging } = this.#deps;
      const { signal } = this.#stopping;
      const outputs = await staging.storeOutputs(wanted, this.id, this.#workDir, signal);
      return { state: "succeeded", exit, outputs, nodeFault: false };
    } catch (error) {
      return { ...this.#failed(error), exit };
    }
  }

  /** The end of an attempt that was stopped from outside. */
  #stopped(exit?: AgentExit): End {
    const ended = exit === undefined ? {} : { exit };
    switch (this.#reason) {
      case "timed_out":
        return {
          ...ended,
          state: "timed_out",
          failure: {
            code: "timed_out",
            message: `it ran longer than its timeout of ${this.spec.timeoutMs} ms`,
          },
          nodeFault: false,
        };
      case "too_slow":
        return {
          ...ended,
          state: "failed",
          failure: {
            code: "prepare_timeout",
            message: `it was not ready to start after ${this.#deps.prepareTimeoutMs} ms`,
          },
          nodeFault: false,
        };
      case "lease_lost":
        return {
          ...ended,
          state: "failed",
          failure: {
            code: "lease_lost",
            message: "the node was cut off from SMS, and the task is exclusive",
          },
          nodeFault: true,
        };
      case "node_stops":
        return {
          ...ended,
          state: "failed",
          failure: { code: "node_stopped", message: "the node was stopped" },
          nodeFault: true,
        };
      default:
        return {
          ...ended,
          state: "cancelled",
          failure: { code: "cancelled", message: "it was cancelled" },
          nodeFault: false,
        };
    }
  }

  #failed(error: unknown): End {
    if (this.#reason !== undefined) return this.#stopped();
    if (error instanceof AgentFailure) {
      const { failure, nodeFault } = error;
      if (nodeFault) this.#deps.log.warn({ ...this.id, ...failure }, "node can't run an attempt");
      return { state: "failed", failure, nodeFault };
    }
    this.#deps.log.error({ err: error, ...this.id }, "attempt failed inside the node");
    return {
      state: "failed",
      failure: { code: "node_error", message: "the node failed to run it" },
      nodeFault: true,
    };
  }

  async #cleanUp(begun: Begun | undefined, log: AttemptLog): Promise<void> {
    const workDir = this.#workDir;
    try {
      await this.#host?.[Symbol.asyncDispose]();
      await this.#recording?.[Symbol.asyncDispose]();
      await this.#deps.logs.end(log);
      this.#silent = log.keptBytes === 0;
      await begun?.cleanup();
      if (workDir === "") return;
      if (this.spec.keep === true) {
        await rename(workDir, join(this.#deps.keptDir, attemptKey(this.id)));
      } else await rm(workDir, { recursive: true, force: true });
    } catch (error) {
      this.#deps.log.error({ err: error, ...this.id }, "attempt left something behind");
    }
  }
}

function exitReport(
  { state, exit, failure, outputs = [], nodeFault }: End,
  noOutput: boolean,
  hostcalls: HostcallUse[],
): AttemptExit {
  return {
    state: taskStateToProto(state),
    exitCode: exit?.exitCode,
    signal: exit?.signal ?? "",
    failure,
    outputs,
    usage: exit?.usage,
    nodeFault,
    noOutput,
    hostcalls,
  };
}

/** Longest delay that a timer of the platform takes. */
const longestTimerMs = 2 ** 31 - 1;

/** Calls back after `ms`, however long, unless disposed before. */
function after(ms: number, call: () => void): Disposable {
  let left = ms;
  let timer: NodeJS.Timeout;
  const arm = () => {
    const next = Math.min(Math.max(0, left), longestTimerMs);
    left -= next;
    timer = setTimeout(left > 0 ? arm : call, next);
  };
  arm();
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}
