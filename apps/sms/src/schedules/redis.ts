/** Schedules in Redis: the typed wrapper of their scripts, and the reads beside them. */
import type { JobId } from "@spear/shared/ids.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import { Script } from "@spear/shared/redis/script.ts";
import { maxSchedules, type ScheduleSpec } from "@spear/shared/schedule.ts";
import type { Redis } from "ioredis";
import happenedLua from "./happened.lua" with { type: "text" };
import putLua from "./put.lua" with { type: "text" };
import takenLua from "./taken.lua" with { type: "text" };

const put = new Script<number>("schedule_put", 2, putLua);
const happened = new Script<number>("schedule_happened", 3, happenedLua);
const taken = new Script<number>("schedule_taken", 3, takenLua);

/** Most times that wait for the job before. */
const maxQueued = 100;

export interface ScheduleRecord {
  name: string;
  spec: ScheduleSpec;
  createdAtMs: number;
  /** Times up to this one are settled; whoever settles more moves it. */
  lastAtMs: number;
  lastJobId: JobId | undefined;
  paused: boolean;
  submitted: number;
  skipped: number;
  queued: number;
}

export class ScheduleRecords {
  readonly #redis: Redis;
  readonly #keys: Keys;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
  }

  /** False if there are too many. */
  async put(name: string, spec: ScheduleSpec, nowMs: number): Promise<boolean> {
    const times = `${spec.cron} ${spec.timeZone ?? "UTC"}`;
    const done = await put.run(
      this.#redis,
      [this.#keys.schedule(name), this.#keys.schedules],
      [nowMs, name, JSON.stringify(spec), times, maxSchedules],
    );
    return done === 1;
  }

  async get(name: string): Promise<ScheduleRecord | undefined> {
    const [hash, queued] = await Promise.all([
      this.#redis.hgetall(this.#keys.schedule(name)),
      this.#redis.llen(this.#keys.scheduleQueue(name)),
    ]);
    if (hash["spec"] === undefined) return undefined;
    return {
      name,
      spec: JSON.parse(hash["spec"]) as ScheduleSpec,
      createdAtMs: Number(hash["created"]),
      lastAtMs: Number(hash["lastAt"]),
      lastJobId: hash["lastJob"] as JobId | undefined,
      paused: hash["paused"] === "1",
      submitted: Number(hash["submitted"]),
      skipped: Number(hash["skipped"]),
      queued,
    };
  }

  /** All names, in order. */
  names(): Promise<string[]> {
    return this.#redis.zrangebylex(this.#keys.schedules, "-", "+");
  }

  /** Schedules with times that wait for the job before. */
  withQueue(): Promise<string[]> {
    return this.#redis.smembers(this.#keys.schedulesQueued);
  }

  /** The time that waits longest; undefined if none does. */
  async firstQueued(name: string): Promise<number | undefined> {
    const text = await this.#redis.lindex(this.#keys.scheduleQueue(name), 0);
    return text === null ? undefined : Number(text);
  }

  /** Pauses, or resumes from now on. */
  async pause(name: string, on: boolean, nowMs: number): Promise<void> {
    const key = this.#keys.schedule(name);
    if (on) await this.#redis.hset(key, "paused", 1);
    else await this.#redis.multi().hset(key, "lastAt", nowMs).hdel(key, "paused").exec();
  }

  /** True if there was one. */
  async remove(name: string): Promise<boolean> {
    const answers = await this.#redis
      .multi()
      .del(this.#keys.schedule(name), this.#keys.scheduleQueue(name))
      .srem(this.#keys.schedulesQueued, name)
      .zrem(this.#keys.schedules, name)
      .exec();
    return answers?.at(-1)?.[1] === 1;
  }

  /** Puts a time into the queue; false if somebody has settled it before. */
  queue(record: ScheduleRecord, atMs: number): Promise<boolean> {
    return this.#settle(record, atMs, 0);
  }

  /** Passes over so many times up to `atMs`; false if somebody has settled them before. */
  skip(record: ScheduleRecord, atMs: number, count: number): Promise<boolean> {
    return this.#settle(record, atMs, count);
  }

  async #settle(record: ScheduleRecord, atMs: number, skipped: number): Promise<boolean> {
    const { name, lastAtMs } = record;
    const args = [lastAtMs, atMs, skipped, maxQueued, name];
    return (await happened.run(this.#redis, this.#keysOf(name), args)) === 1;
  }

  /** Takes the first time out of the queue: it became a job, or, without one, is passed over. */
  async take(name: string, atMs: number, jobId: JobId | undefined): Promise<void> {
    await taken.run(this.#redis, this.#keysOf(name), [atMs, jobId ?? "", name]);
  }

  #keysOf(name: string): string[] {
    return [this.#keys.schedule(name), this.#keys.scheduleQueue(name), this.#keys.schedulesQueued];
  }
}
