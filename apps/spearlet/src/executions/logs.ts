/**
 * The output of all attempts of this node. What has ended is kept until the Object
 * Store has it (sealer.ts), or there is too much.
 */
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import type { TaskId } from "@spear/shared/ids.ts";
import { parseId } from "@spear/shared/ids.ts";
import { outputStreams, type OutputStream } from "@spear/shared/output.ts";
import { attemptKey, type AttemptId } from "./attempt.ts";
import { AttemptLog } from "./attemptlog.ts";

/** Bounds of what is kept after the attempts' end. */
export interface LogLimits {
  attempts: number;
  bytes: number;
}

export class LogStore {
  readonly #dir: string;
  readonly #limits: LogLimits;
  readonly #onEnd: () => void;
  readonly #running = new Map<string, AttemptLog>();
  /** Those that wrote something, oldest first. */
  readonly #ended = new Map<string, AttemptLog>();
  /** Those that wrote nothing, oldest first. */
  readonly #silent = new Map<string, AttemptLog>();
  #endedBytes = 0;

  private constructor(dir: string, limits: LogLimits, onEnd: () => void) {
    this.#dir = dir;
    this.#limits = limits;
    this.#onEnd = onEnd;
  }

  /** Makes the directory and finds what earlier runs left in it. `onEnd` hears of each end. */
  static async open(
    dir: string,
    limits: LogLimits,
    onEnd: () => void = () => undefined,
  ): Promise<LogStore> {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const store = new LogStore(dir, limits, onEnd);
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
    this.#forget(left);
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
    this.#onEnd();
  }

  /** Output that has ended, the oldest first; without what wrote nothing. */
  ended(): AttemptLog[] {
    return [...this.#ended.values()];
  }

  #keep(log: AttemptLog): void {
    const key = attemptKey(log.id);
    if (log.keptBytes === 0) this.#silent.set(key, log);
    else this.#ended.set(key, log);
    this.#endedBytes += log.keptBytes;
  }

  #forget(log: AttemptLog): void {
    if (this.#ended.delete(attemptKey(log.id))) this.#endedBytes -= log.keptBytes;
  }

  async #evict(): Promise<void> {
    for (const key of this.#silent.keys()) {
      if (this.#silent.size <= this.#limits.attempts) break;
      this.#silent.delete(key);
    }
    for (const log of this.#ended.values()) {
      if (this.#ended.size <= this.#limits.attempts && this.#endedBytes <= this.#limits.bytes) {
        return;
      }
      await this.remove(log);
    }
  }

  /** Removes output that has ended. */
  async remove(log: AttemptLog): Promise<void> {
    this.#forget(log);
    log.remove();
    await rm(log.dir, { recursive: true, force: true });
  }

  /** The output of an attempt; undefined if the node has none, or not any more. */
  find(id: AttemptId): AttemptLog | undefined {
    const key = attemptKey(id);
    return this.#running.get(key) ?? this.#ended.get(key) ?? this.#silent.get(key);
  }

  /** The newest attempt of a task whose output is here. */
  newest(taskId: TaskId): AttemptId | undefined {
    return [this.#running, this.#ended, this.#silent]
      .flatMap((logs) => [...logs.values()])
      .map(({ id }) => id)
      .filter((id) => id.taskId === taskId)
      .toSorted((a, b) => b.attempt - a.attempt)[0];
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
export function parseStream(name: string): OutputStream | undefined {
  if (name === "") return undefined;
  const stream = outputStreams.find((known) => known === name);
  if (stream !== undefined) return stream;
  throw new Fault("invalid_argument", `stream: must be one of ${outputStreams.join(", ")}`, {
    field: "stream",
  });
}
