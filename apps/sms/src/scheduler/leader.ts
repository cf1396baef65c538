/**
 * Which replica runs what only one should run: failure verdicts and reconciling.
 * One key with a time to live names it, and each change of leader has a new epoch.
 *
 * One key and not Redlock: all that a leader writes is in this same Redis, so a
 * majority of other ones would add nothing. A leader that was paused may believe
 * in its lead for too long; its verdicts carry the epoch and are refused (see
 * standing.lua), and what it moves is fenced by the attempt (T3).
 */
import type { Clock } from "@spear/shared/clock.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import { Script } from "@spear/shared/redis/script.ts";
import type { Redis } from "ioredis";
import leadLua from "./lead.lua" with { type: "text" };
import resignLua from "./resign.lua" with { type: "text" };

const lead = new Script<number>("lead", 2, leadLua);
const resign = new Script<number>("resign", 1, resignLua);

/** How long a lead lasts that is not renewed, in milliseconds: failover takes no longer. */
export const leadMs = 2_000;
/** It is renewed this often, so that two lost renewals cost nothing. */
const renewMs = leadMs / 4;
/** A leader stops to believe in its lead this much before Redis does. */
const marginMs = leadMs / 5;

export class Leader implements AsyncDisposable {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #name: string;
  readonly #onLead: () => void;
  readonly #loop: Loop;
  #epoch = 0;
  #untilMs = 0;

  /** `name` is this run of this replica, and no other's; `onLead` is called with each new epoch. */
  constructor(deps: {
    redis: Redis;
    keys: Keys;
    clock: Clock;
    log: Log;
    name: string;
    onLead: () => void;
  }) {
    this.#redis = deps.redis;
    this.#keys = deps.keys;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#name = deps.name;
    this.#onLead = deps.onLead;
    this.#loop = new Loop("leader", renewMs, deps.log, () => this.#renew(), { clock: deps.clock });
  }

  /** The epoch of this replica's lead; undefined while another leads. */
  get epoch(): number | undefined {
    return this.#clock.nowMs() < this.#untilMs ? this.#epoch : undefined;
  }

  async #renew(): Promise<void> {
    const askedMs = this.#clock.nowMs();
    const epoch = await lead.run(
      this.#redis,
      [this.#keys.leader, this.#keys.leaderEpoch],
      [this.#name, leadMs],
    );
    if (epoch === 0 && this.epoch !== undefined) this.#log.warn("another replica leads");
    const begins = epoch !== 0 && epoch !== this.#epoch;
    this.#epoch = epoch;
    this.#untilMs = epoch === 0 ? 0 : askedMs + leadMs - marginMs;
    if (!begins) return;
    this.#log.info({ epoch, name: this.#name }, "this replica leads");
    this.#onLead();
  }

  /** Gives the lead back. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loop[Symbol.asyncDispose]();
    this.#untilMs = 0;
    await resign
      .run(this.#redis, [this.#keys.leader], [this.#name])
      .catch((error: unknown) => this.#log.debug({ err: error }, "giving the lead back failed"));
  }
}
