/**
 * The port that every Worker Agent implements: process, docker, wasm and mock.
 * One attempt goes through prepare → start → (stop, usage) → exit → cleanup.
 * The Task Controller owns the order, the timeout and the work directory; an
 * agent only knows how to run one attempt and how to leave nothing of it (T6).
 */
import type { TaskId } from "@spear/shared/ids.ts";
import type { Failure, Runtime, TaskSpec, Usage } from "@spear/shared/task.ts";

/** Where output goes. Writes apply backpressure: await each before the next. */
export interface OutputSink {
  write(stream: "stdout" | "stderr" | "system", bytes: Uint8Array): Promise<void>;
}

/** What an attempt may ask of its node; see hostcalls/host.ts. */
export interface Host {
  /** Makes a call. Rejects with a `Fault`. */
  call(
    name: string,
    params: unknown,
    body?: Uint8Array,
  ): Promise<{ result: object; body?: Uint8Array | AsyncIterable<Uint8Array> }>;
}

/** Takes the recording of a guest's run as it goes. */
export interface TapeSink {
  /** SHA-256 of the module that runs. */
  module(sha256: string): void;
  add(bytes: Uint8Array): void;
}

/** Everything an agent gets to know of an attempt. */
export interface AttemptContext {
  readonly taskId: TaskId;
  /** The fencing token. */
  readonly attempt: number;
  readonly spec: TaskSpec;
  /** Fresh directory with the staged inputs; the command's working directory. */
  readonly workDir: string;
  /**
   * The spec's environment, secrets and SPEAR_* variables. An agent adds only what
   * its kind of command can't do without and the spec leaves open, as PATH and HOME.
   */
  readonly env: Readonly<Record<string, string>>;
  /** Bytes for standard input; then end of file. */
  readonly stdin: Uint8Array;
  readonly output: OutputSink;
  /** The hostcalls of a command that has no socket of its own; absent: none are granted. */
  readonly host?: Host;
  /** For a Wasm guest: record its run, or play the recording in this file again. */
  readonly tape?: { readonly record: TapeSink } | { readonly replay: string };
  /** Limits with defaults filled in. */
  readonly limits: { cpu: number; memoryBytes: number; pids: number | undefined };
  /**
   * For `adopt`: how many bytes of each stream an earlier run has kept.
   * Output goes on right behind them. Absent: from the first byte.
   */
  readonly kept?: { readonly stdout: number; readonly stderr: number };
}

/** How an attempt ended by itself or by `stop`. */
export interface AgentExit {
  /** Exit code, if it exited. */
  exitCode?: number;
  /** Name of the signal that ended it, as SIGKILL. */
  signal?: string;
  /** Set where more is known than a code: `out_of_memory`, `trap`, `image_not_found`, … */
  failure?: Failure;
  usage: Usage;
}

/** An attempt that runs. */
export interface RunningAttempt {
  /** Process id on the host, where there is one. */
  readonly pid: number | undefined;
  /**
   * What a successor of this SPEARlet needs to find it again, as JSON text;
   * kept in the journal. A process writes pid and start time, a container its id.
   */
  readonly handle: string;
  /** Resolves once, when nothing of the attempt runs any more and all output was written. */
  readonly exit: Promise<AgentExit>;
  /** SIGTERM, then after `graceMs` SIGKILL of the whole tree. Resolves with `exit`. */
  stop(graceMs: number): Promise<void>;
  /** What it has used so far. */
  usage(): Promise<Usage>;
}

/** A prepared attempt: all that can fail before the command runs has not failed. */
export interface PreparedAttempt {
  /** Starts the command. */
  start(): Promise<RunningAttempt>;
  /** Removes whatever prepare and start made outside the work directory; idempotent. */
  cleanup(): Promise<void>;
}

export interface Agent extends AsyncDisposable {
  readonly runtime: Runtime;
  /**
   * True if its attempts live in this process only: they need no work directory
   * of their own and end with the SPEARlet, so there is nothing to reap.
   */
  readonly inProcess?: boolean;
  /** Version of the engine, or undefined while the runtime can't be offered. */
  probe(): Promise<string | undefined>;
  /**
   * Gets ready what the attempt needs: the image, the compiled module, the control group.
   * Throws `AgentFailure` for what the task is to blame for or the node can't do.
   */
  prepare(context: AttemptContext, signal: AbortSignal): Promise<PreparedAttempt>;
  /**
   * Ends and removes what an earlier run of this SPEARlet left running, by its handle,
   * grandchildren included. Resolves when nothing of it is left.
   */
  reap(handle: string): Promise<void>;
  /**
   * Takes over what an earlier run left running, with its output so far;
   * undefined if this agent can't, and then it is reaped. What was adopted and has
   * ended is cleaned up with `reap`: until then a later run can adopt it again.
   */
  adopt?(handle: string, context: AttemptContext): Promise<RunningAttempt | undefined>;
  /**
   * Ends and removes what no handle in `known` names: left behind by a run that was
   * killed before it could note the handle. Spares what this run started. Resolves
   * with how many there were.
   */
  sweep?(known: readonly string[]): Promise<number>;
}

/** Why an attempt could not run. */
export class AgentFailure extends Error {
  readonly failure: Failure;
  /** The node is to blame, not the task: SMS tries elsewhere without counting it. */
  readonly nodeFault: boolean;

  constructor(
    code: string,
    message: string,
    options: { nodeFault?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "AgentFailure";
    this.failure = { code, message };
    this.nodeFault = options.nodeFault ?? false;
  }
}
