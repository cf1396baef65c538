/**
 * Locks for what must not be interleaved. A lock only saves work: safety rests
 * on the fencing number, which every script under the lock checks, so a holder
 * that lost its lock changes nothing (O4).
 */
import { Redlock } from "redlock";
import type { Redis } from "ioredis";
import type { StoreKeys } from "../objects/scripts.ts";

const lockMs = 10_000;
const acquisitions = 2 ** 20;

export class Locks {
  readonly #redlock: Redlock;
  readonly #keys: StoreKeys;
  readonly #epoch: number;
  /** Who waits within this store waits here, in order, and not for the lock. */
  readonly #queues = new Map<string, Promise<unknown>>();
  #serial = 0;

  /** `redis`: a connection for locks alone. */
  constructor(redis: Redis, keys: StoreKeys, epoch: number) {
    // Redlock makes its scripts known late, when a pipeline may have begun without them.
    redis.options.enableAutoPipelining = false;
    this.#redlock = new Redlock([redis], { retryCount: 50, retryDelay: 100 });
    // Every failure is also thrown where the lock was asked for.
    this.#redlock.on("error", () => undefined);
    this.#keys = keys;
    this.#epoch = epoch;
  }

  /**
   * Runs `work` while no other holder of the same lock runs. `fence` grows with
   * every acquisition, across restarts too. The signal aborts when the lock is lost.
   */
  hold<T>(what: string, work: (fence: number, signal: AbortSignal) => Promise<T>): Promise<T> {
    const before = this.#queues.get(what) ?? Promise.resolve();
    const held = before.then(() => this.#hold(what, work));
    this.#queues.set(
      what,
      held.catch(() => undefined),
    );
    return held;
  }

  async #hold<T>(
    what: string,
    work: (fence: number, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    // What an earlier epoch still holds is of no consequence: it can change nothing.
    const lock = await this.#redlock.acquire([this.#keys.lock(`${what}-${this.#epoch}`)], lockMs);
    const lost = new AbortController();
    const fence = this.#epoch * acquisitions + ++this.#serial;
    let held = lock;
    const extend = setInterval(() => {
      held.extend(lockMs).then(
        (extended) => (held = extended),
        (error: unknown) => lost.abort(error),
      );
    }, lockMs / 3);
    try {
      return await work(fence, lost.signal);
    } finally {
      clearInterval(extend);
      await held.release().catch(() => undefined);
    }
  }
}
