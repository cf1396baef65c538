/** Buckets: a hash of names; what is in a bucket belongs to the objects. */
import { check } from "@spear/shared/check.ts";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { checkBucketName, checkKeyPart } from "../objects/names.ts";
import { bucketNotFound, changeScript, type StoreScripts } from "../objects/scripts.ts";
import createLua from "./create.lua" with { type: "text" };
import removeLua from "./remove.lua" with { type: "text" };
import rulesLua from "./rules.lua" with { type: "text" };
import { bucketRulesSchema } from "./schema.ts";
import type { Bucket, BucketRules, BucketUsage, GivenRules } from "./schema.ts";

export const bucketScripts = {
  create: changeScript("bucket_create", 0, createLua),
  remove: changeScript("bucket_remove", 1, removeLua),
  rules: changeScript("bucket_rules", 0, rulesLua),
};

/** A bucket's entry in Redis: when it was made, and the JSON of its rules if it has some. */
export function bucketOfEntry(entry: string): { createdAtMs: number; rules: string } {
  const at = entry.indexOf(" ");
  return at < 0
    ? { createdAtMs: Number(entry), rules: "" }
    : { createdAtMs: Number(entry.slice(0, at)), rules: entry.slice(at + 1) };
}

export class Buckets {
  readonly #scripts: StoreScripts;
  readonly #clock: Clock;

  constructor(scripts: StoreScripts, clock: Clock) {
    this.#scripts = scripts;
    this.#clock = clock;
  }

  /** Makes a bucket. Errors: `invalid_argument`, and `bucket_exists` unless `ifAbsent`. */
  async create(name: string, ifAbsent: boolean): Promise<Bucket> {
    checkBucketName(name, "name");
    const createdAtMs = this.#clock.nowMs();
    const { status } = await this.#scripts.change(bucketScripts.create, [], [name, createdAtMs]);
    if (status === "ok") return { name, createdAtMs };
    if (ifAbsent) return this.get(name);
    throw new Fault("bucket_exists", `there is a bucket ${name} already`, { field: "name" });
  }

  /** Makes a bucket whose name no client can use, unless it is there. */
  async createHidden(name: string): Promise<void> {
    await this.#scripts.change(bucketScripts.create, [], [name, this.#clock.nowMs()]);
  }

  /** Errors: `bucket_not_found`. */
  async get(name: string): Promise<Bucket> {
    return { name, createdAtMs: (await this.#entry(name)).createdAtMs };
  }

  async #entry(name: string) {
    checkBucketName(name);
    const { redis, keys } = this.#scripts;
    const entry = await this.#scripts.call(redis.hget(keys.buckets, name));
    if (entry === null) throw bucketNotFound(name);
    return bucketOfEntry(entry);
  }

  /** A bucket's rules; empty if it has none. Errors: `bucket_not_found`. */
  async rules(name: string): Promise<BucketRules> {
    const { rules } = await this.#entry(name);
    return rules === "" ? {} : (JSON.parse(rules) as BucketRules);
  }

  /**
   * Gives a bucket these rules instead of those it has. A quota that is passed
   * already refuses what would make the bucket larger.
   * Errors: `invalid_argument`, `bucket_not_found`.
   */
  async setRules(name: string, rules: GivenRules): Promise<BucketRules> {
    checkBucketName(name);
    check(bucketRulesSchema, rules, "");
    for (const [index, { prefix }] of (rules.expiry ?? []).entries()) {
      checkKeyPart(prefix, `expiry.${index}.prefix`);
    }
    const { maxBytes, maxObjects, expiry = [] } = rules;
    const kept = {
      ...(maxBytes === undefined ? {} : { maxBytes }),
      ...(maxObjects === undefined ? {} : { maxObjects }),
      ...(expiry.length === 0 ? {} : { expiry }),
    };
    const text = Object.keys(kept).length === 0 ? "" : JSON.stringify(kept);
    const { status } = await this.#scripts.change(bucketScripts.rules, [], [name, text]);
    if (status !== "ok") throw bucketNotFound(name);
    return kept;
  }

  /** What a bucket holds. Errors: `bucket_not_found`. */
  async usage(name: string): Promise<BucketUsage> {
    await this.#entry(name);
    const { redis, keys } = this.#scripts;
    const [objects, bytes] = await this.#scripts.call(
      Promise.all([redis.zcard(keys.names(name)), redis.hget(keys.usage, name)]),
    );
    return { objects, sizeBytes: Number(bytes ?? 0) };
  }

  /** Removes an empty bucket. Errors: `bucket_not_found`, `bucket_not_empty`. */
  async remove(name: string): Promise<void> {
    checkBucketName(name);
    const { status } = await this.#scripts.change(
      bucketScripts.remove,
      [this.#scripts.keys.names(name)],
      [name],
    );
    if (status === "bucket_not_found") throw bucketNotFound(name);
    if (status === "bucket_not_empty") {
      throw new Fault("bucket_not_empty", `the bucket ${name} is not empty`, {
        field: "name",
        help: "delete its objects first",
      });
    }
  }

  /** All buckets by name, without the store's own. */
  async list(): Promise<Bucket[]> {
    const { redis, keys } = this.#scripts;
    const all = await this.#scripts.call(redis.hgetall(keys.buckets));
    return Object.entries(all)
      .filter(([name]) => !name.startsWith("."))
      .map(([name, entry]) => ({ name, createdAtMs: bucketOfEntry(entry).createdAtMs }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }
}
