/**
 * Starting and stopping: every program is a `start(config, deps)` that returns
 * an `AsyncDisposable`; what it opened is closed in reverse order.
 */
import { type Clock, systemClock } from "./clock.ts";
import type { Log } from "./log.ts";

/** Aborts once, when the process is asked to end by SIGINT, SIGTERM or SIGHUP. */
export function terminationSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(name, () => controller.abort(name));
  }
  return controller.signal;
}

/**
 * Aborts once standard input ends. A parent that holds the other end and never
 * writes takes its children along, however it dies.
 */
export function lifelineSignal(): AbortSignal {
  const controller = new AbortController();
  process.stdin.once("close", () => controller.abort("the parent ended"));
  process.stdin.resume();
  // Listening must not be what keeps a program running that has stopped.
  process.stdin.unref?.();
  return controller.signal;
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve(), { once: true }),
  );
}

/**
 * Runs `step` every `periodMs`, and soon after `signalled()`, never twice at the
 * same time, until disposed. Signals that come within `gapMs` after a step are
 * folded into one. A step that throws is logged and tried again.
 */
export class Loop implements AsyncDisposable {
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  #wake: (() => void) | undefined;
  #pending = false;

  constructor(
    name: string,
    periodMs: number,
    log: Log,
    step: (signal: AbortSignal) => Promise<void>,
    { clock = systemClock, gapMs = 0 }: { clock?: Clock; gapMs?: number } = {},
  ) {
    this.#done = this.#run(name, periodMs, gapMs, log, step, clock);
  }

  /** Run the step soon; calls made while it runs are folded into one more run. */
  signalled(): void {
    this.#pending = true;
    this.#wake?.();
  }

  async #run(
    name: string,
    periodMs: number,
    gapMs: number,
    log: Log,
    step: (signal: AbortSignal) => Promise<void>,
    clock: Clock,
  ): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      this.#pending = false;
      try {
        await step(signal);
      } catch (error) {
        if (!signal.aborted) log.warn({ err: error, loop: name }, "loop step failed");
      }
      if (gapMs > 0) await clock.wait(gapMs, signal).catch(() => undefined);
      if (this.#pending || signal.aborted) continue;
      const woken = new AbortController();
      this.#wake = () => woken.abort();
      await clock.wait(periodMs, woken.signal).catch(() => undefined);
      this.#wake = undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    this.#wake?.();
    await this.#done;
  }
}
