/**
 * Holds: while someone copies the store, nothing is collected and no part of the
 * journal goes. A hold ends by itself when its holder is gone; a holder that was
 * away for too long is told.
 */
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import type { StoreScripts } from "../objects/scripts.ts";
import { Locks } from "./lock.ts";

const heldMs = 60_000;
const renewMs = 10_000;

/** True while anybody holds the store. */
export async function isHeld(scripts: StoreScripts, clock: Clock): Promise<boolean> {
  const { redis, keys } = scripts;
  return (await scripts.call(redis.zcount(keys.holds, clock.nowMs(), "+inf"))) > 0;
}

export class Hold implements AsyncDisposable {
  readonly #scripts: StoreScripts;
  readonly #clock: Clock;
  readonly #holder = crypto.randomUUID();
  readonly #loop: Loop;
  #endsAtMs = 0;

  private constructor(scripts: StoreScripts, clock: Clock, log: Log) {
    this.#scripts = scripts;
    this.#clock = clock;
    this.#loop = new Loop("hold", renewMs, log, () => this.#renew());
  }

  /** Holds the store; once it resolves, what was being collected is over. */
  static async take(scripts: StoreScripts, clock: Clock, log: Log): Promise<Hold> {
    const hold = new Hold(scripts, clock, log);
    try {
      await hold.#renew();
      const { redis, keys } = scripts;
      const epoch = Number((await scripts.call(redis.hget(keys.fences, "epoch"))) ?? 0);
      // Who has the lock later sees the hold.
      const locks = redis.duplicate();
      try {
        await new Locks(locks, keys, epoch).hold("collect", () => Promise.resolve());
      } catch (error) {
        throw new Fault("conflict", "the store is collecting and does not pause", { cause: error });
      } finally {
        locks.disconnect();
      }
      return hold;
    } catch (error) {
      await hold[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #renew(): Promise<void> {
    const { redis, keys } = this.#scripts;
    const nowMs = this.#clock.nowMs();
    await this.#scripts.call(redis.zadd(keys.holds, nowMs + heldMs, this.#holder));
    await this.#scripts.call(redis.zremrangebyscore(keys.holds, "-inf", `(${nowMs}`));
    if (this.#endsAtMs === 0 || nowMs <= this.#endsAtMs) this.#endsAtMs = nowMs + heldMs;
  }

  /** Throws `conflict` if the hold was lost in between: something may have gone. */
  check(): void {
    if (this.#clock.nowMs() <= this.#endsAtMs) return;
    throw new Fault("conflict", "the store was not held all the while", {
      help: "this process or Redis was stopped for too long; try again",
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loop[Symbol.asyncDispose]();
    const { redis, keys } = this.#scripts;
    await redis.zrem(keys.holds, this.#holder).catch(() => undefined);
  }
}
