/**
 * The store's scripts and the keys they work on. What changes something takes a
 * generation and writes an event in the same script; a change is acknowledged
 * when the journal has it on its disk too.
 */
import type { Redis } from "ioredis";
import { Fault } from "@spear/shared/fault.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import { Script } from "@spear/shared/redis/script.ts";
import batchLua from "./batch.lua" with { type: "text" };
import { Batches } from "./batches.ts";
import guardLua from "./guard.lua" with { type: "text" };
import lib from "./lib.lua" with { type: "text" };

type Answer = [Buffer, ...unknown[]];
type Argument = string | number | Buffer;

/** Names of the store's keys. */
export function storeKeys(keys: Keys) {
  return {
    generation: keys.store("generation"),
    buckets: keys.store("buckets"),
    objects: keys.store("objects"),
    chunks: keys.store("chunks"),
    aliases: keys.store("aliases"),
    doomed: keys.store("doomed"),
    events: keys.store("events"),
    refs: keys.store("refs"),
    expiries: keys.store("expiries"),
    condemned: keys.store("condemned"),
    segments: keys.store("segments"),
    fences: keys.store("fences"),
    usage: keys.store("usage"),
    holds: keys.store("holds"),
    alive: keys.store("alive"),
    uploads: keys.store("uploads"),
    accessKeys: keys.store("access-keys"),
    names: (bucket: string) => keys.store("names", bucket),
    lock: (what: string) => keys.store("lock", what),
    /** SMS's record of a task, which says whether an attempt may still commit (T3). */
    task: (id: string) => keys.task(id),
  };
}
export type StoreKeys = ReturnType<typeof storeKeys>;

/** What every script is given first; lib.lua knows the order. */
function commonKeys(k: StoreKeys): string[] {
  return [
    k.generation,
    k.buckets,
    k.objects,
    k.chunks,
    k.aliases,
    k.doomed,
    k.events,
    k.refs,
    k.expiries,
    k.condemned,
    k.segments,
    k.fences,
    k.usage,
  ];
}

const commonCount = 13;

/** A script that changes nothing, with `extra` keys behind the common ones. */
export function readScript(name: string, extra: number, lua: string): Script<Answer> {
  return new Script<Answer>(`store_${name}`, commonCount + extra, lib + lua);
}

/** A script that changes something, with `extra` keys behind the common ones. */
export function changeScript(name: string, extra: number, lua: string): Script<Answer> {
  return new Script<Answer>(`store_${name}`, commonCount + extra, lib + guardLua + lua);
}

/** A script with one key behind the common ones, whose calls go to Redis in batches. */
export interface BatchScript {
  readonly script: Script<Answer[]>;
  readonly changes: boolean;
}

/** Like `readScript` or `changeScript` with one extra key, for many calls at once. */
export function batchScript(name: string, kind: "read" | "change", lua: string): BatchScript {
  const changes = kind === "change";
  const one = `local function one(KEYS, ARGV)\n${lua}\nend\n`;
  const text = lib + (changes ? guardLua : "") + one + batchLua;
  return { script: new Script(`store_${name}_batch`, commonCount + 1, text), changes };
}

export interface Outcome {
  readonly status: string;
  readonly rest: readonly unknown[];
}

const broken: Readonly<Record<string, string>> = {
  objects: "the bucket has as many objects as its quota allows",
  bytes: "the bucket would hold more bytes than its quota allows",
};

const unmet: Readonly<Record<string, string>> = {
  exists: "the key exists already",
  absent: "the key does not exist",
  etag: "the ETag is another one",
  generation: "the generation is another one",
};

export class StoreScripts {
  readonly redis: Redis;
  readonly keys: StoreKeys;
  readonly #common: string[];
  readonly #batches = new Map<BatchScript, Batches<Argument[], Answer>>();
  /** Number of this run of the store; an earlier run can change nothing any more. */
  readonly epoch: number;
  /** Resolves when the journal has a generation; set once the journal runs. */
  reached: (generation: number) => Promise<void> = () => Promise.resolve();

  constructor(redis: Redis, keys: StoreKeys, epoch: number) {
    this.redis = redis;
    this.epoch = epoch;
    this.keys = keys;
    this.#common = commonKeys(keys);
  }

  /** Runs a script that changes nothing. Errors: `unavailable`. */
  async read(script: Script<Answer>, extra: string[], args: Argument[]): Promise<Outcome> {
    const [status, ...rest] = await this.call(
      script.runBuffer(this.redis, [...this.#common, ...extra], args),
    );
    return { status: status.toString(), rest };
  }

  /**
   * Runs a script that changes something, and waits until the journal has it.
   * Errors: `precondition_failed`, `quota_exceeded`; `unavailable` leaves open whether it happened.
   */
  async change(script: Script<Answer>, extra: string[], args: Argument[]): Promise<Outcome> {
    return this.#accept(await this.read(script, extra, [`e${this.epoch}`, ...args]));
  }

  /** As `read`, together with others that ask about the same `key`. */
  async readTogether(script: BatchScript, key: string, args: Argument[]): Promise<Outcome> {
    const [status, ...rest] = await this.#batchesOf(script).call(key, args);
    if (status.toString() !== "failed") return { status: status.toString(), rest };
    throw redisFault(new Error(String(rest[0])));
  }

  /** As `change`, together with others that change the same `key`. */
  async changeTogether(script: BatchScript, key: string, args: Argument[]): Promise<Outcome> {
    return this.#accept(await this.readTogether(script, key, args));
  }

  #batchesOf(script: BatchScript): Batches<Argument[], Answer> {
    let batches = this.#batches.get(script);
    if (batches === undefined) {
      batches = new Batches((key, calls) => this.#runBatch(script, key, calls));
      this.#batches.set(script, batches);
    }
    return batches;
  }

  async #runBatch(
    { script, changes }: BatchScript,
    key: string,
    calls: readonly Argument[][],
  ): Promise<Answer[]> {
    const guard = changes ? `e${this.epoch}` : "";
    const answers = await this.call(
      script.runBuffer(
        this.redis,
        [...this.#common, key],
        [guard, calls[0]?.length ?? 0, ...calls.flat()],
      ),
    );
    // The guard answers for all of them.
    if (answers.length === 1 && Buffer.isBuffer(answers[0])) throw turnIsOver();
    return answers;
  }

  /** What a script that changes something said, once the journal has it. Errors: as `change`. */
  async #accept(outcome: Outcome): Promise<Outcome> {
    if (outcome.status === "stale_epoch") {
      throw turnIsOver();
    }
    if (outcome.status === "precondition") {
      const [what] = outcome.rest;
      throw new Fault("precondition_failed", unmet[String(what)] ?? "a condition does not hold");
    }
    if (outcome.status === "quota") {
      throw new Fault("quota_exceeded", broken[String(outcome.rest[0])] ?? "a quota is reached", {
        field: "bucket",
        help: "delete objects, or give the bucket a larger quota",
      });
    }
    const [generation] = outcome.rest;
    if (outcome.status === "ok" && typeof generation === "number" && generation > 0) {
      await this.reached(generation);
    }
    return outcome;
  }

  /** Runs a script as the journal recorded it. */
  replay(
    script: Script<Answer>,
    extra: string[],
    generation: number,
    args: Argument[],
  ): Promise<Outcome> {
    return this.read(script, extra, [generation, ...args]);
  }

  /** A command's answer, its failure as a fault. */
  async call<T>(command: Promise<T>): Promise<T> {
    try {
      return await command;
    } catch (error) {
      throw redisFault(error);
    }
  }
}

/** The fault of a store whose epoch is over. */
export function turnIsOver(): Fault {
  return new Fault("unavailable", "this store's turn is over", {
    help: "another Store runs with the same data, or Redis has lost it; restart the Store",
  });
}

export function bucketNotFound(bucket: string): Fault {
  return new Fault("bucket_not_found", `there is no bucket ${bucket}`, { field: "bucket" });
}

export function objectNotFound(what: string): Fault {
  return new Fault("object_not_found", `there is no object ${what}`);
}
