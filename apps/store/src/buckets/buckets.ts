/** Buckets: a hash of names; what is in a bucket belongs to the objects. */
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { checkBucketName } from "../objects/names.ts";
import { bucketNotFound, changeScript, type StoreScripts } from "../objects/scripts.ts";
import createLua from "./create.lua" with { type: "text" };
import removeLua from "./remove.lua" with { type: "text" };
import type { Bucket } from "./schema.ts";

export const bucketScripts = {
  create: changeScript("bucket_create", 0, createLua),
  remove: changeScript("bucket_remove", 1, removeLua),
};

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
    checkBucketName(name);
    const { redis, keys } = this.#scripts;
    const createdAtMs = await this.#scripts.call(redis.hget(keys.buckets, name));
    if (createdAtMs === null) throw bucketNotFound(name);
    return { name, createdAtMs: Number(createdAtMs) };
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
      .map(([name, createdAtMs]) => ({ name, createdAtMs: Number(createdAtMs) }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }
}
