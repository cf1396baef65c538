/** Buckets: a hash of names; what is in a bucket belongs to the objects. */
import type { Redis } from "ioredis";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import { Script } from "@spear/shared/redis/script.ts";
import { checkBucketName } from "../objects/names.ts";
import { bucketNotFound, type StoreKeys } from "../objects/redis.ts";
import removeLua from "./remove.lua" with { type: "text" };
import type { Bucket } from "./schema.ts";

const remove = new Script<string>("store_bucket_remove", 2, removeLua);

export class Buckets {
  readonly #redis: Redis;
  readonly #keys: StoreKeys;
  readonly #clock: Clock;

  constructor(redis: Redis, keys: StoreKeys, clock: Clock) {
    this.#redis = redis;
    this.#keys = keys;
    this.#clock = clock;
  }

  /** Makes a bucket. Errors: `invalid_argument`, and `bucket_exists` unless `ifAbsent`. */
  async create(name: string, ifAbsent: boolean): Promise<Bucket> {
    checkBucketName(name, "name");
    const createdAtMs = this.#clock.nowMs();
    const made = await this.#redis
      .hsetnx(this.#keys.buckets, name, String(createdAtMs))
      .catch((error: unknown) => {
        throw redisFault(error);
      });
    if (made === 1) return { name, createdAtMs };
    if (ifAbsent) return this.get(name);
    throw new Fault("bucket_exists", `there is a bucket ${name} already`, { field: "name" });
  }

  /** Errors: `bucket_not_found`. */
  async get(name: string): Promise<Bucket> {
    checkBucketName(name);
    const createdAtMs = await this.#redis.hget(this.#keys.buckets, name).catch((error: unknown) => {
      throw redisFault(error);
    });
    if (createdAtMs === null) throw bucketNotFound(name);
    return { name, createdAtMs: Number(createdAtMs) };
  }

  /** Removes an empty bucket. Errors: `bucket_not_found`, `bucket_not_empty`. */
  async remove(name: string): Promise<void> {
    checkBucketName(name);
    const status = await remove
      .run(this.#redis, [this.#keys.buckets, this.#keys.names(name)], [name])
      .catch((error: unknown) => {
        throw redisFault(error);
      });
    if (status === "bucket_not_found") throw bucketNotFound(name);
    if (status === "bucket_not_empty") {
      throw new Fault("bucket_not_empty", `the bucket ${name} is not empty`, {
        field: "name",
        help: "delete its objects first",
      });
    }
  }

  /** All buckets by name. */
  async list(): Promise<Bucket[]> {
    const all = await this.#redis.hgetall(this.#keys.buckets).catch((error: unknown) => {
      throw redisFault(error);
    });
    return Object.entries(all)
      .map(([name, createdAtMs]) => ({ name, createdAtMs: Number(createdAtMs) }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }
}
