/**
 * What tasks asked of their nodes by hostcalls: kept for each attempt as its node
 * reports it, and read with the smallest grants that would have done.
 */
import type { Audit, HostcallUse } from "@spear/shared/audit.ts";
import type { Fault } from "@spear/shared/fault.ts";
import { rights, smallestGrants, type RightName, type Use } from "@spear/shared/grants.ts";
import type { TaskId } from "@spear/shared/ids.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import type { Redis } from "ioredis";
import type { Tasks } from "./tasks.ts";

/** How long an audit is kept after its last report, in milliseconds. */
const keptMs = 7 * 86_400_000;
/** Most uses that are kept of an attempt. */
const mostUses = 1_024;

export class Audits {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #tasks: Tasks;

  constructor({ redis, keys, tasks }: { redis: Redis; keys: Keys; tasks: Tasks }) {
    this.#redis = redis;
    this.#keys = keys;
    this.#tasks = tasks;
  }

  /** Keeps all that an attempt has asked so far, in place of what was said before. */
  async write(id: TaskId, attempt: number, uses: readonly HostcallUse[]): Promise<void> {
    if (uses.length === 0) return;
    const key = this.#keys.audit(id);
    try {
      await this.#redis
        .multi()
        .hset(key, attempt, JSON.stringify(uses.slice(0, mostUses)))
        .pexpire(key, keptMs)
        .exec();
    } catch (error) {
      throw redisFault(error);
    }
  }

  /** Throws `task_not_found`. */
  async read(id: TaskId): Promise<Audit> {
    const { spec } = await this.#tasks.get(id);
    const found = await this.#redis.hgetall(this.#keys.audit(id)).catch((error: unknown): Fault => {
      throw redisFault(error);
    });
    const attempts = Object.entries(found)
      .map(([attempt, uses]) => ({
        attempt: Number(attempt),
        uses: JSON.parse(uses as string) as HostcallUse[],
      }))
      .toSorted((a, b) => a.attempt - b.attempt);
    const uses = attempts.flatMap((attempt) => attempt.uses);
    return {
      taskId: id,
      granted: spec.hostcalls ?? [],
      proposal: smallestGrants(named(uses.filter(({ calls }) => calls > 0))),
      missing: smallestGrants(named(uses.filter(({ grant }) => grant === ""))),
      attempts,
    };
  }
}

/** The uses of rights that this SMS knows. */
function named(uses: readonly HostcallUse[]): Use[] {
  return uses.flatMap(({ right, target }) =>
    Object.hasOwn(rights, right) ? [{ right: right as RightName, target }] : [],
  );
}
