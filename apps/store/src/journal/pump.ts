/**
 * The pump moves events from Redis into the journal, many with one sync, and
 * tells those who wait that their change is there. What is in the journal is
 * trimmed from the stream by the next pull.
 */
import { Fault } from "@spear/shared/fault.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import { failpoint } from "../failpoint.ts";
import { changeScript, type StoreScripts } from "../objects/scripts.ts";
import type { Journal, JournalEntry } from "./journal.ts";
import pullLua from "./pull.lua" with { type: "text" };

const pullScript = changeScript("pull", 0, pullLua);
const batch = 512;
const periodMs = 1_000;

interface Waiting {
  readonly generation: number;
  resolve(): void;
  reject(error: unknown): void;
}

export class Pump implements AsyncDisposable {
  readonly #scripts: StoreScripts;
  readonly #journal: Journal;
  readonly #log: Log;
  readonly #loop: Loop;
  #waiting: Waiting[] = [];

  constructor(scripts: StoreScripts, journal: Journal, log: Log) {
    this.#scripts = scripts;
    this.#journal = journal;
    this.#log = log;
    this.#loop = new Loop("journal", periodMs, log, (signal) => this.#run(signal));
  }

  /**
   * Resolves when the journal has a generation. Errors: `store_full`;
   * `unavailable` if Redis has lost changes that were acknowledged.
   */
  reached(generation: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ generation, resolve, reject });
    this.#loop.signalled();
    return promise;
  }

  async #run(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted && (await this.#step()) === batch);
    } catch (error) {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const one of waiting) one.reject(error);
      if (Fault.from(error).code === "internal") throw error;
      this.#log.warn({ err: error }, "the journal can't be written");
    }
  }

  /** Moves one batch; returns its size. */
  async #step(): Promise<number> {
    const { last } = this.#journal;
    const { rest } = await this.#scripts.change(pullScript, [], [last, batch]);
    failpoint("journal.trimmed");
    const [, generation, found] = rest as [number, number, [Buffer, [Buffer, Buffer]][]];
    if (generation < last) throw lostChanges();
    const entries = found.map(([id, [, packed]]): JournalEntry => ({
      generation: Number(id.toString().split("-")[0]),
      packed,
    }));
    for (const [index, entry] of entries.entries()) {
      if (entry.generation !== last + 1 + index) throw lostChanges();
    }
    await this.#journal.append(entries);
    this.#release();
    return entries.length;
  }

  #release(): void {
    const { last } = this.#journal;
    const left: Waiting[] = [];
    for (const one of this.#waiting) {
      if (one.generation <= last) one.resolve();
      else left.push(one);
    }
    this.#waiting = left;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loop[Symbol.asyncDispose]();
    for (const one of this.#waiting) one.reject(new Fault("unavailable", "the store is stopping"));
  }
}

function lostChanges(): Fault {
  return new Fault("unavailable", "Redis and the journal do not agree on what has happened", {
    help: "restart the Store: it brings back what Redis has lost",
  });
}
