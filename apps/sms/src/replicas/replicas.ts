/**
 * The replicas of SMS that are there, and the life of the cluster's data. Each replica says
 * once a second that it is there; nodes spread over those that do. The life is an id in
 * Redis that no one ever deletes: when it is gone, Redis has lost its data. A replica that
 * has seen it says so; one that starts anew learns it from nodes, which remember it too.
 */
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import type { Redis } from "ioredis";
import { smsScript } from "../tasks/redis.ts";
import announceLua from "./announce.lua" with { type: "text" };

const announce = smsScript<[string, ...string[]]>("announce", 3, announceLua);

const periodMs = 1_000;
/** A replica that is not heard of for this long is gone, in milliseconds. */
const goneMs = 3_500;

export interface ReplicaDeps {
  redis: Redis;
  keys: Keys;
  eventsKept: number;
  log: Log;
  /** The replicas that are there are not those of before. */
  onChange: (addresses: readonly string[]) => void;
  /** Redis has lost its data. */
  onDataLost: () => void;
}

export class Replicas implements AsyncDisposable {
  readonly #deps: ReplicaDeps;
  #loop: Loop | undefined;
  #address = "";
  #life = "";
  #addresses: readonly string[] = [];

  constructor(deps: ReplicaDeps) {
    this.#deps = deps;
  }

  /**
   * Says from now on that nodes reach this replica at that gRPC address. Resolves when the
   * life of the cluster's data is known.
   */
  async begin(address: string): Promise<void> {
    this.#address = address;
    await this.#announce();
    this.#loop = new Loop("replicas", periodMs, this.#deps.log, () => this.#announce());
  }

  /** Which life of the cluster's data this is; empty before `begin`. */
  get life(): string {
    return this.#life;
  }

  /** gRPC addresses of the replicas that are there. */
  get addresses(): readonly string[] {
    return this.#addresses;
  }

  async #announce(): Promise<void> {
    const { redis, keys, eventsKept, log, onChange, onDataLost } = this.#deps;
    const [life, ...addresses] = await announce.run(
      redis,
      [keys.seq, keys.clusterLife, keys.replicas],
      [Date.now(), eventsKept, this.#address, goneMs, this.#life, crypto.randomUUID()],
    );
    const lost = this.#life !== "" && this.#life !== life;
    this.#life = life;
    if (lost) {
      log.error({ life }, "redis has lost its data: tasks and jobs that were there are gone");
      onDataLost();
    }
    const sorted = addresses.toSorted();
    if (sorted.join() === this.#addresses.join()) return;
    this.#addresses = sorted;
    onChange(sorted);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#loop?.[Symbol.asyncDispose]();
    const { redis, keys, log } = this.#deps;
    await redis
      .zrem(keys.replicas, this.#address)
      .catch((error: unknown) => log.debug({ err: error }, "saying goodbye failed"));
  }
}
