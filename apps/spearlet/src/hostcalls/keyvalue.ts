/**
 * Keys and values that the tasks of a job share, in Redis. Every call is one
 * script that checks the attempt first, so that a stale one changes nothing (T3).
 */
import { Fault } from "@spear/shared/fault.ts";
import { hostcallLimits } from "@spear/shared/hostcalls.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import currentAttemptLua from "@spear/shared/redis/current.lua" with { type: "text" };
import { Script } from "@spear/shared/redis/script.ts";
import type { AttemptId } from "../executions/attempt.ts";
import { staleAttempt } from "./current.ts";
import keyvalueLua from "./keyvalue.lua" with { type: "text" };
import type { ClusterRedis } from "./redis.ts";

type Answer = [code: Buffer, ...rest: (number | Buffer)[]];

const keyvalue = new Script<Answer>("keyvalue", 2, currentAttemptLua + keyvalueLua);
/** How long the keys of a job stay after the last change, in milliseconds. */
const keptMs = 7 * 86_400_000;

export interface Entry {
  /** 0 if there is no value. */
  version: number;
  value: Uint8Array;
}

export class KeyValue {
  readonly #cluster: ClusterRedis;
  readonly #id: AttemptId;

  constructor(cluster: ClusterRedis, id: AttemptId) {
    this.#cluster = cluster;
    this.#id = id;
  }

  async get(key: string): Promise<Entry> {
    return entryOf(await this.#run("get", key));
  }

  /** Up to 1,000 keys behind `after`, in order, and whether there are more. */
  async list(prefix: string, after: string): Promise<{ keys: string[]; more: boolean }> {
    const [more, ...keys] = await this.#run("list", prefix, after);
    return { keys: keys.map(String), more: more === 1 };
  }

  /** Throws `precondition_failed` and `payload_too_large`. */
  async set(key: string, value: Uint8Array, ifVersion: number | undefined): Promise<number> {
    return entryOf(await this.#run("set", key, Buffer.from(value), ifVersion)).version;
  }

  async delete(key: string, ifVersion: number | undefined): Promise<number> {
    return entryOf(await this.#run("delete", key, "", ifVersion)).version;
  }

  /** Adds to a whole number that is written as text. Throws `conflict` if it is none. */
  async increment(key: string, by: number): Promise<{ value: number; version: number }> {
    const { version, value } = entryOf(await this.#run("increment", key, by));
    return { value: Number(Buffer.from(value).toString()), version };
  }

  async #run(
    what: string,
    key: string,
    value: string | number | Buffer = "",
    ifVersion?: number,
  ): Promise<(number | Buffer)[]> {
    const { redis, keys } = this.#cluster.get();
    const { jobValueBytes, jobKeys } = hostcallLimits;
    const [code, ...rest] = await keyvalue
      .runBuffer(
        redis,
        [keys.task(this.#id.taskId), keys.keyvaluePrefix],
        [this.#id.attempt, what, key, value, ifVersion ?? "", keptMs, jobValueBytes, jobKeys],
      )
      .catch((error: unknown) => {
        throw redisFault(error);
      });
    switch (code.toString()) {
      case "ok":
        return rest;
      case "precondition":
        throw new Fault("precondition_failed", `${key} has another version`, {
          field: "ifVersion",
        });
      case "full":
        throw new Fault(
          "payload_too_large",
          `a job has at most ${jobKeys} keys and ${jobValueBytes} bytes of values`,
          { field: "key" },
        );
      case "type":
        throw new Fault("conflict", `${key} holds no whole number`, { field: "key" });
      default:
        throw staleAttempt();
    }
  }
}

function entryOf([version, value]: readonly (number | Buffer)[]): Entry {
  return { version: Number(version), value: Buffer.from(value as Buffer) };
}
