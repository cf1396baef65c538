/**
 * Presence: a Store that runs says so in Redis, and where it listens. Tools that
 * want it stopped look here first, instead of taking its data away from it.
 */
import { systemClock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import type { StoreScripts } from "../objects/scripts.ts";

const renewMs = 1_000;
const goneAfterMs = 5_000;
const lookMs = 100;

export class Presence implements AsyncDisposable {
  readonly #scripts: StoreScripts;
  readonly #address: string;
  readonly #loop: Loop;

  constructor(scripts: StoreScripts, address: string, log: Log) {
    this.#scripts = scripts;
    this.#address = address;
    this.#loop = new Loop("presence", renewMs, log, () => this.#renew());
  }

  async #renew(): Promise<void> {
    const { redis, keys } = this.#scripts;
    if (await this.#isOurs()) {
      await this.#scripts.call(redis.set(keys.alive, this.#address, "PX", goneAfterMs));
    }
  }

  /** False once another has begun with the same data. */
  async #isOurs(): Promise<boolean> {
    const { redis, keys, epoch } = this.#scripts;
    return Number(await this.#scripts.call(redis.hget(keys.fences, "epoch"))) === epoch;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loop[Symbol.asyncDispose]();
    const { redis, keys } = this.#scripts;
    // Away with Redis, it is forgotten there by itself.
    if (await this.#isOurs().catch(() => false)) await redis.del(keys.alive).catch(() => undefined);
  }
}

/**
 * Resolves when no Store runs with these data; one that was killed is waited for
 * until it is forgotten. Errors: `conflict` naming where it listens.
 */
export async function noStoreRuns(
  scripts: Pick<StoreScripts, "redis" | "keys" | "call">,
): Promise<void> {
  const { redis, keys } = scripts;
  for (let leftMs = goneAfterMs; ;) {
    const [address, ttlMs] = await scripts.call(
      Promise.all([redis.get(keys.alive), redis.pttl(keys.alive)]),
    );
    if (address === null) return;
    // One that is left over only grows older.
    if (ttlMs > leftMs) {
      throw new Fault("conflict", `a Store runs with these data, at ${address}`, {
        help: "stop it first; scrub and backup may run beside it",
      });
    }
    leftMs = ttlMs;
    await systemClock.wait(lookMs);
  }
}
