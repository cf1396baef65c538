/**
 * Whether an attempt is still the one that counts (T3). What changes something
 * is fenced where it is written; for what only reads, an answer that is a second
 * old is good enough, so that not every call asks Redis.
 */
import { Fault } from "@spear/shared/fault.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import currentAttemptLua from "@spear/shared/redis/current.lua" with { type: "text" };
import { Script } from "@spear/shared/redis/script.ts";
import type { AttemptId } from "../executions/attempt.ts";
import currentLua from "./current.lua" with { type: "text" };
import type { ClusterRedis } from "./redis.ts";

const current = new Script<number>("attempt_current", 1, currentAttemptLua + currentLua);
const freshMs = 1_000;

/** The refusal of an attempt that does not count any more. */
export function staleAttempt(): Fault {
  return new Fault("stale_attempt", "the attempt has ended or a newer one exists");
}

export class Currency {
  readonly #cluster: ClusterRedis;
  readonly #id: AttemptId;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;

  constructor(cluster: ClusterRedis, id: AttemptId) {
    this.#cluster = cluster;
    this.#id = id;
  }

  /** Throws `stale_attempt`, or `unavailable` if nobody can say. */
  async check(): Promise<void> {
    if (performance.now() - this.#askedAtMs < freshMs) return;
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    await this.#asking;
  }

  async #ask(): Promise<void> {
    const askedAtMs = performance.now();
    const { taskId, attempt } = this.#id;
    const { redis, keys } = this.#cluster.get();
    const runs = await current
      .run(redis, [keys.task(taskId)], [attempt])
      .catch((error: unknown) => {
        throw redisFault(error);
      });
    if (runs !== 1) throw staleAttempt();
    this.#askedAtMs = askedAtMs;
  }
}
