/**
 * The agent's end of one child: starts it, gives it jobs, carries its output to
 * the sink with backpressure, watches its memory, and ends it. Nothing that the
 * child says is trusted beyond its shape (S1); whatever happens to it, `exited`
 * resolves and no descriptor stays open (T6).
 */
import { check } from "@spear/shared/check.ts";
import { Type } from "@sinclair/typebox";
import { Fault } from "@spear/shared/fault.ts";
import { hostcallLimits } from "@spear/shared/hostcalls.ts";
import type { Usage } from "@spear/shared/task.ts";
import { readFileSync } from "node:fs";
import { processInfo } from "../../machine/proc.ts";
import { collect } from "../../hostcalls/body.ts";
import type { Host, OutputSink } from "../agent.ts";
import { childCommand } from "./command.ts";
import {
  Frame,
  FrameReader,
  decodeMessage,
  encodeFrame,
  encodeMessage,
  frameOf,
  jsonOf,
  type Job,
  type Result,
} from "./protocol.ts";

const readyTimeoutMs = 30_000;
const memoryCheckMs = 100;
/** What engine, code and tables may take beside the guest's memory. */
const overheadBytes = 320 * 1024 * 1024;
const clockTicksPerSecond = 100;
const kernelPageBytes = 4096;

const count = Type.Integer({ minimum: 0 });
const resultShape = Type.Object(
  {
    exitCode: Type.Optional(Type.Integer()),
    signal: Type.Optional(Type.String({ maxLength: 32 })),
    failure: Type.Optional(
      Type.Object({ code: Type.String(), message: Type.String() }, { additionalProperties: false }),
    ),
    stdout: count,
    stderr: count,
    cpuMs: count,
    memoryBytes: count,
  },
  { additionalProperties: false },
);

const callShape = Type.Object({ name: Type.String({ maxLength: 64 }), params: Type.Unknown() });

/** A guest whose task grants nothing. */
const ungranted: Host = {
  call: (name) =>
    Promise.reject(new Fault("permission_denied", `${name}: this task has no hostcalls`)),
};

/** All of an answer's bytes, as one message carries them. */
async function atHand(
  body: Uint8Array | AsyncIterable<Uint8Array> | undefined,
): Promise<Uint8Array> {
  if (body === undefined || body instanceof Uint8Array) return body ?? new Uint8Array(0);
  return collect(body, hostcallLimits.pipeBytes, "the answer");
}

export interface RunOptions {
  /** Makes the guest's hostcalls. */
  host?: Host | undefined;
  /** Takes the recording of a job that asks for one. */
  onTape?: ((bytes: Uint8Array) => void) | undefined;
}

/** How the process itself ended. */
export interface ProcessEnd {
  exitCode: number;
  signal: string | undefined;
}

/** How a run ended: as the child reported it, or with the child. */
export type RunEnd = { result: Result } | { died: ProcessEnd; full: boolean; usage: Usage };

function signalName(signal: number | string | null): string | undefined {
  return signal === null ? undefined : String(signal);
}

type Stream = "stdout" | "stderr";

/** Copies one stream to whoever runs, and knows how much has come. */
class Pump {
  readonly done: Promise<void>;
  readonly #name: Stream;
  #sink: OutputSink | undefined;
  #received = 0;
  #tail = Buffer.alloc(0);
  #waiting: { target: number; resolve: () => void } | undefined;
  #error: Error | undefined;

  constructor(name: Stream, source: ReadableStream<Uint8Array>) {
    this.#name = name;
    this.done = this.#run(source);
  }

  /** Output from now on goes to `sink`, counted from zero. */
  begin(sink: OutputSink): void {
    this.#sink = sink;
    this.#received = 0;
    this.#tail = Buffer.alloc(0);
    this.#error = undefined;
  }

  /** The last of what came, as text for people. */
  get tail(): string {
    return this.#tail.toString("utf8").trim();
  }

  /** Resolves when so many bytes were written to the sink; rejects if it refused some. */
  async until(target: number): Promise<void> {
    if (this.#received < target) {
      const reached = new Promise<void>((resolve) => {
        this.#waiting = { target, resolve };
      });
      await Promise.race([reached, this.done]);
      this.#waiting = undefined;
    }
    if (this.#error !== undefined) throw this.#error;
  }

  async #run(source: ReadableStream<Uint8Array>): Promise<void> {
    for await (const bytes of source) {
      this.#tail = Buffer.concat([this.#tail, bytes.subarray(-tailBytes)]).subarray(-tailBytes);
      try {
        // After a refusal the rest is dropped, so that the guest does not hang.
        if (this.#error === undefined) await this.#sink?.write(this.#name, bytes);
      } catch (error) {
        this.#error = error instanceof Error ? error : new Error(String(error));
      }
      this.#received += bytes.length;
      if (this.#waiting !== undefined && this.#received >= this.#waiting.target) {
        this.#waiting.resolve();
      }
    }
  }
}
const tailBytes = 512;

export class ChildProcess {
  readonly pid: number;
  /** Clock ticks between boot and its start; with the pid it names this very process. */
  readonly startTicks: number;
  /** Resolves when it waits for its first job; rejects if it never will. */
  readonly ready: Promise<void>;
  /** Resolves when it is gone and its output was written. */
  readonly exited: Promise<ProcessEnd>;
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #control: Promise<Bun.Socket>;
  readonly #pumps: Record<Stream, Pump>;
  readonly #frames = new FrameReader();
  readonly #becameReady = Promise.withResolvers<void>();
  #result = Promise.withResolvers<Result>();
  #unsent: Uint8Array = new Uint8Array(0);
  #host: Host | undefined;
  #onTape: ((bytes: Uint8Array) => void) | undefined;
  #idleCpuMs = 0;
  #idleRssBytes = 0;
  #peakRssBytes = 0;
  #full = false;

  /** Starts a child; what fails shows in `ready`. */
  constructor(command: readonly string[] = childCommand()) {
    // "/" holds nothing that Bun would read as its settings, as a work directory might.
    this.#process = Bun.spawn<"ignore", "pipe", "pipe">({
      cmd: [...command],
      cwd: "/",
      env: {},
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    this.pid = this.#process.pid;
    this.startTicks = processInfo(this.pid)?.startTicks ?? 0;
    this.#pumps = {
      stdout: new Pump("stdout", this.#process.stdout),
      stderr: new Pump("stderr", this.#process.stderr),
    };
    this.#control = this.#connect(this.#process.stdio[3] as number);
    this.exited = this.#ended();
    this.ready = this.#awaitReady();
    // Whoever needs it awaits it; a child that dies idle is nobody's error.
    this.ready.catch(() => undefined);
  }

  #connect(fd: number): Promise<Bun.Socket> {
    const options: Bun.FdSocketOptions = {
      fd,
      socket: {
        data: (_socket, bytes) => this.#received(bytes),
        drain: (socket) => this.#flush(socket),
        error: () => this.kill("SIGKILL"),
      },
    };
    // The types have these options, but no overload that takes them.
    return Bun.connect(options as unknown as Bun.UnixSocketOptions);
  }

  #received(bytes: Uint8Array): void {
    try {
      for (const { kind, body } of this.#frames.push(bytes.slice())) {
        if (kind === Frame.READY) this.#becameReady.resolve();
        else if (kind === Frame.RESULT) this.#result.resolve(check(resultShape, jsonOf(body)));
        else if (kind === Frame.CALL) void this.#answer(decodeMessage<unknown>(body));
        else if (kind === Frame.TAPE) this.#onTape?.(body);
        else throw new RangeError(`unknown frame ${kind}`);
      }
    } catch {
      this.kill("SIGKILL");
    }
  }

  /** Makes the guest's hostcall; whatever comes of it is its reply. */
  async #answer({ head, bytes }: { head: unknown; bytes: Uint8Array }): Promise<void> {
    let reply: Uint8Array;
    try {
      const { name, params } = check(callShape, head);
      const { result, body } = await (this.#host ?? ungranted).call(name, params, bytes);
      reply = frameOf(Frame.REPLY, ...encodeMessage({ result }, await atHand(body)));
    } catch (error) {
      const problem = Fault.from(error).toProblem();
      reply = frameOf(Frame.REPLY, ...encodeMessage({ problem }, new Uint8Array(0)));
    }
    this.#unsent = reply;
    this.#flush(await this.#control);
  }

  #flush(socket: Bun.Socket): void {
    const sent = socket.write(this.#unsent);
    this.#unsent = this.#unsent.subarray(Math.max(0, sent));
  }

  async #ended(): Promise<ProcessEnd> {
    const exitCode = await this.#process.exited;
    await Promise.all([this.#pumps.stdout.done, this.#pumps.stderr.done]);
    (await this.#control.catch(() => undefined))?.end();
    return { exitCode, signal: signalName(this.#process.signalCode) };
  }

  async #awaitReady(): Promise<void> {
    const timer = setTimeout(() => this.kill("SIGKILL"), readyTimeoutMs);
    try {
      const died = await Promise.race([
        this.#becameReady.promise.then(() => undefined),
        this.exited,
      ]);
      if (died !== undefined) {
        const said = this.#pumps.stderr.tail;
        const how = died.signal ?? `exit code ${died.exitCode}`;
        throw new Error(`the child ended with ${how} before it was ready: ${said}`);
      }
    } finally {
      clearTimeout(timer);
    }
    this.#rest();
  }

  /** Remembers what it has used for nobody. */
  #rest(): void {
    this.#idleCpuMs = this.#cpuMs();
    this.#idleRssBytes = this.#rssBytes();
  }

  /** The last of what the guest said on standard error. */
  get lastWords(): string {
    return this.#pumps.stderr.tail;
  }

  /**
   * Runs a job; one at a time. Resolves when the guest has ended and all of its
   * output was written; rejects only if the sink refused some.
   */
  async run(job: Job, output: OutputSink, more: RunOptions = {}): Promise<RunEnd> {
    this.#host = more.host;
    this.#onTape = more.onTape;
    const result = (this.#result = Promise.withResolvers<Result>());
    this.#pumps.stdout.begin(output);
    this.#pumps.stderr.begin(output);
    this.#full = false;
    this.#peakRssBytes = 0;
    this.#unsent = encodeFrame(Frame.JOB, job);
    this.#flush(await this.#control);
    const limit = this.#idleRssBytes + job.memoryBytes + overheadBytes;
    const watch = setInterval(() => this.#watch(limit), memoryCheckMs);
    try {
      const end = await Promise.race([
        result.promise.then((value) => ({ result: value })),
        this.exited.then((died) => ({ died, full: this.#full, usage: this.usage() })),
      ]);
      const [stdout, stderr] = "result" in end ? [end.result.stdout, end.result.stderr] : [0, 0];
      await Promise.all([this.#pumps.stdout.until(stdout), this.#pumps.stderr.until(stderr)]);
      return end;
    } finally {
      clearInterval(watch);
      if (job.reuse) this.#rest();
    }
  }

  /** Ends a guest whose memory outside of its linear one grows without bound. */
  #watch(limitBytes: number): void {
    this.#peakRssBytes = Math.max(this.#peakRssBytes, this.#rssBytes());
    if (this.#peakRssBytes <= limitBytes) return;
    this.#full = true;
    this.kill("SIGKILL");
  }

  #rssBytes(): number {
    const pages = this.#proc("statm")?.split(" ")[1];
    return Number(pages ?? 0) * kernelPageBytes;
  }

  /** CPU time of the process so far, also when it is gone. */
  #cpuMs(): number {
    const ended = this.#process.resourceUsage();
    if (ended !== undefined) return Number(ended.cpuTime.total) / 1000;
    const stat = this.#proc("stat");
    const [user, system] =
      stat
        ?.slice(stat.lastIndexOf(")") + 2)
        .split(" ")
        .slice(11, 13) ?? [];
    return ((Number(user ?? 0) + Number(system ?? 0)) * 1000) / clockTicksPerSecond;
  }

  #proc(file: string): string | undefined {
    try {
      return readFileSync(`/proc/${this.pid}/${file}`, "utf8");
    } catch {
      return undefined;
    }
  }

  /** What the present guest has used so far, or had when its child died. */
  usage(): Usage {
    this.#peakRssBytes = Math.max(this.#peakRssBytes, this.#rssBytes());
    return {
      cpuMs: Math.max(0, Math.round(this.#cpuMs() - this.#idleCpuMs)),
      maxMemoryBytes: Math.max(0, this.#peakRssBytes - this.#idleRssBytes),
    };
  }

  kill(signal: "SIGTERM" | "SIGKILL"): void {
    this.#process.kill(signal);
  }
}
