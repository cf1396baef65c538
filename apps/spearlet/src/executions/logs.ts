/**
 * Output of attempts: written while they run, read while they run and after,
 * kept after their end until there are too many or too large. Binary throughout.
 */
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import type { TaskId } from "@spear/shared/ids.ts";
import { parseId } from "@spear/shared/ids.ts";
import { aborted } from "@spear/shared/lifecycle.ts";
import type { OutputSink } from "../agents/agent.ts";
import { attemptKey, type AttemptId } from "./attempt.ts";
import { logStreams, StreamLog, type LogStream } from "./streamlog.ts";

export interface LogPiece {
  stream: LogStream;
  data: Uint8Array;
  /** Offset of the first byte in the attempt's stream. */
  offset: number;
}

export interface LogQuery {
  /** One stream only. */
  stream?: LogStream | undefined;
  /** Go on until the attempt ends. */
  follow: boolean;
  /** Only this many last bytes of each stream first. */
  tailBytes?: number | undefined;
}

/** The output of one attempt. */
export class AttemptLog implements OutputSink {
  readonly id: AttemptId;
  readonly dir: string;
  readonly #streams: readonly StreamLog[];
  #ended: boolean;
  #changed = Promise.withResolvers<void>();
  #writing: Promise<void> = Promise.resolve();

  private constructor(id: AttemptId, dir: string, streams: StreamLog[], ended: boolean) {
    this.id = id;
    this.dir = dir;
    this.#streams = streams;
    this.#ended = ended;
  }

  static create(id: AttemptId, dir: string, maxBytes: number): AttemptLog {
    const streams = logStreams.map((stream) => new StreamLog(dir, stream, maxBytes));
    return new AttemptLog(id, dir, streams, false);
  }

  /** What an earlier run of the SPEARlet captured; with `maxBytes` it goes on. */
  static load(id: AttemptId, dir: string, maxBytes?: number): AttemptLog {
    const streams = logStreams.map((stream) => StreamLog.load(dir, stream, maxBytes));
    return new AttemptLog(id, dir, streams, maxBytes === undefined);
  }

  /** How many bytes of a stream were ever written. */
  endOf(stream: LogStream): number {
    return this.#of(stream).end;
  }

  #of(stream: LogStream): StreamLog {
    return this.#streams[logStreams.indexOf(stream)] as StreamLog;
  }

  get keptBytes(): number {
    return this.#streams.reduce((sum, stream) => sum + stream.keptBytes, 0);
  }

  /** Writes of all streams take turns, so that memory holds one at a time. */
  write(stream: LogStream, bytes: Uint8Array): Promise<void> {
    const write = this.#writing.then(async () => {
      await this.#of(stream).write(bytes);
      this.#notify();
    });
    this.#writing = write.catch(() => undefined);
    return write;
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** No more is written: readers that follow come to their end. */
  async end(): Promise<void> {
    await this.#writing;
    await Promise.all(this.#streams.map((stream) => stream.close()));
    this.#ended = true;
    this.#notify();
  }

  /** The output so far and, if it is followed, what comes until the end. */
  async *read(query: LogQuery, signal: AbortSignal): AsyncGenerator<LogPiece> {
    const cursors = this.#streams
      .filter(({ stream }) => query.stream === undefined || query.stream === stream)
      .map((log) => ({
        log,
        offset: Math.max(log.start, query.tailBytes === undefined ? 0 : log.end - query.tailBytes),
      }));
    const stopped = aborted(signal);
    while (!signal.aborted) {
      // Taken before reading, so that what is written meanwhile is not missed.
      const ended = this.#ended;
      const changed = this.#changed.promise;
      for (const cursor of cursors) {
        for (;;) {
          const piece = await cursor.log.read(cursor.offset);
          if (piece === undefined || signal.aborted) break;
          cursor.offset = piece.offset + piece.data.byteLength;
          yield { stream: cursor.log.stream, ...piece };
        }
      }
      if (ended || !query.follow) return;
      await Promise.race([changed, stopped]);
    }
  }
}

/** Bounds of what is kept after the attempts' end. */
export interface LogLimits {
  attempts: number;
  bytes: number;
}

/** The output of all attempts of this node. */
export class LogStore {
  readonly #dir: string;
  readonly #limits: LogLimits;
  readonly #running = new Map<string, AttemptLog>();
  /** Oldest first. */
  readonly #ended = new Map<string, AttemptLog>();
  #endedBytes = 0;

  constructor(dir: string, limits: LogLimits) {
    this.#dir = dir;
    this.#limits = limits;
  }

  /** Makes the directory and finds what earlier runs left in it. */
  static async open(dir: string, limits: LogLimits): Promise<LogStore> {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const store = new LogStore(dir, limits);
    const found = readdirSync(dir).map((name) => ({
      name,
      mtimeMs: statSync(join(dir, name)).mtimeMs,
    }));
    for (const { name } of found.toSorted((a, b) => a.mtimeMs - b.mtimeMs)) {
      const id = parseName(name);
      if (id !== undefined) store.#keep(AttemptLog.load(id, join(dir, name)));
    }
    await store.#evict();
    return store;
  }

  /** Starts to capture; the directory comes with the first byte. */
  create(id: AttemptId, maxBytes: number): AttemptLog {
    const key = attemptKey(id);
    const log = AttemptLog.create(id, join(this.#dir, key), maxBytes);
    this.#running.set(key, log);
    return log;
  }

  /** Goes on with what an earlier run of the SPEARlet captured. */
  resume(id: AttemptId, maxBytes: number): AttemptLog {
    const key = attemptKey(id);
    const left = this.#ended.get(key);
    if (left === undefined) return this.create(id, maxBytes);
    this.#ended.delete(key);
    this.#endedBytes -= left.keptBytes;
    const log = AttemptLog.load(id, left.dir, maxBytes);
    this.#running.set(key, log);
    return log;
  }

  /** Ends the capture; from here on the limits apply to it. */
  async end(log: AttemptLog): Promise<void> {
    await log.end();
    this.#running.delete(attemptKey(log.id));
    this.#keep(log);
    await this.#evict();
  }

  #keep(log: AttemptLog): void {
    this.#ended.set(attemptKey(log.id), log);
    this.#endedBytes += log.keptBytes;
  }

  async #evict(): Promise<void> {
    for (const [key, log] of this.#ended) {
      if (this.#ended.size <= this.#limits.attempts && this.#endedBytes <= this.#limits.bytes) {
        return;
      }
      this.#ended.delete(key);
      this.#endedBytes -= log.keptBytes;
      if (log.keptBytes > 0) await rm(log.dir, { recursive: true, force: true });
    }
  }

  /** The output of an attempt; undefined if the node has none, or not any more. */
  find(id: AttemptId): AttemptLog | undefined {
    const key = attemptKey(id);
    return this.#running.get(key) ?? this.#ended.get(key);
  }
}

function parseName(name: string): AttemptId | undefined {
  const at = name.lastIndexOf("-");
  const attempt = Number(name.slice(at + 1));
  try {
    const taskId: TaskId = parseId("task", name.slice(0, at), "name");
    return Number.isInteger(attempt) ? { taskId, attempt } : undefined;
  } catch {
    return undefined;
  }
}

/** A stream's name from outside; empty means all. Throws `invalid_argument`. */
export function parseStream(name: string): LogStream | undefined {
  if (name === "") return undefined;
  const stream = logStreams.find((known) => known === name);
  if (stream !== undefined) return stream;
  throw new Fault("invalid_argument", `stream: must be one of ${logStreams.join(", ")}`, {
    field: "stream",
  });
}
