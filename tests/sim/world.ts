/**
 * Simulated time. Everything that happens is an event of a process at a moment;
 * events run one by one, and after each all that code waits for in promises runs
 * too. Nothing depends on real time, so a run follows from its seed alone.
 */
import { drainMicrotasks } from "bun:jsc";
import type { Clock } from "@spear/shared/clock.ts";
import { Random } from "./random.ts";

interface Moment {
  atMs: number;
  /** Order among those of one time. */
  order: number;
  process: Process | undefined;
  life: number;
  run: () => void;
}

/** When the simulated world begins; any time will do. */
export const startMs = 1_700_000_000_000;

export class World {
  readonly random: Random;
  readonly #heap: Moment[] = [];
  #order = 0;
  nowMs = startMs;
  /** Events that have run. */
  steps = 0;
  #lines: string[] = [];

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  /** Runs `work` after a delay, unless the process's life has ended by then. */
  after(delayMs: number, process: Process | undefined, work: () => void): void {
    this.#push({
      atMs: this.nowMs + Math.max(0, delayMs),
      order: this.#order++,
      process,
      life: process?.life ?? 0,
      run: work,
    });
  }

  /** Notes something for whoever reads a failing run; the last are kept. */
  note(text: string): void {
    this.#lines.push(`${((this.nowMs - startMs) / 1000).toFixed(3).padStart(9)}s ${text}`);
    if (this.#lines.length > 400) this.#lines = this.#lines.slice(-200);
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  /** Runs events until `endMs`, or until `done` says so. */
  runUntil(endMs: number, done: () => boolean): void {
    while (!done()) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#pop();
      this.nowMs = next.atMs;
      const { process } = next;
      if (process !== undefined) {
        if (process.life !== next.life || !process.alive) continue;
        if (process.pausedUntilMs > this.nowMs) {
          this.#push({ ...next, atMs: process.pausedUntilMs });
          continue;
        }
      }
      this.steps++;
      next.run();
      drainMicrotasks();
    }
  }

  #push(moment: Moment): void {
    const heap = this.#heap;
    let at = heap.push(moment) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(moment, heap[parent] as Moment)) break;
      heap[at] = heap[parent] as Moment;
      at = parent;
    }
    heap[at] = moment;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Moment;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Moment, heap[child] as Moment))
        child++;
      if (!before(heap[child] as Moment, last)) break;
      heap[at] = heap[child] as Moment;
      at = child;
    }
    heap[at] = last;
  }
}

function before(a: Moment, b: Moment): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** A process with a clock of its own. What it has begun ends with its life. */
export class Process implements Clock {
  readonly world: World;
  readonly name: string;
  /** Counts its starts and ends; what an earlier life has begun does not go on. */
  life = 0;
  alive = false;
  pausedUntilMs = 0;
  /** How far its clock is ahead. */
  skewMs = 0;

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
  }

  begin(): void {
    this.life++;
    this.alive = true;
    this.pausedUntilMs = 0;
  }

  end(): void {
    this.life++;
    this.alive = false;
  }

  after(delayMs: number, work: () => void): void {
    this.world.after(delayMs, this, work);
  }

  nowMs(): number {
    return this.world.nowMs + this.skewMs;
  }

  wait(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = () => reject(signal?.reason as Error);
      if (signal?.aborted === true) return stop();
      signal?.addEventListener("abort", stop, { once: true });
      this.after(ms, resolve);
    });
  }
}
