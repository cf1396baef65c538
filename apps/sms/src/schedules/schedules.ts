/**
 * Schedules: jobs that are submitted again and again, by the clock. A schedule's record
 * says up to which time everything is settled; whoever looks, on a tick of the timer, at
 * the start of SMS or when the job before has ended, settles what is due since. The job
 * of a time has the time in its idempotency key, so each time becomes one job at most,
 * whichever replicas look.
 */
import { check } from "@spear/shared/check.ts";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { JobId } from "@spear/shared/ids.ts";
import { isEnded, type Job, type JobSpec } from "@spear/shared/job.ts";
import { Loop } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import {
  maxSchedules,
  type Schedule,
  scheduleName,
  type ScheduleSpec,
  ScheduleTimes,
} from "@spear/shared/schedule.ts";
import type { Redis } from "ioredis";
import type { EventLog } from "../events/events.ts";
import { type Jobs, shownSpec } from "../jobs/jobs.ts";
import type { ScheduleRecord, ScheduleRecords } from "./redis.ts";
import { ScheduleTimer } from "./timer.ts";
import { checkCron, dueTimes, nextAfter } from "./times.ts";

/** Label of a schedule's jobs. */
const label = "spear/schedule";
const periodMs = 2_000;

export class Schedules implements AsyncDisposable {
  readonly #records: ScheduleRecords;
  readonly #jobs: Jobs;
  readonly #clock: Clock;
  readonly #timer: ScheduleTimer;
  readonly #queues: Loop;
  readonly #stopListening: () => void;

  /** `redis` and `prefix` are of the timer's queue. */
  constructor(deps: {
    records: ScheduleRecords;
    jobs: Jobs;
    events: Pick<EventLog, "listen">;
    clock: Clock;
    redis: Redis;
    prefix: string;
    log: Log;
  }) {
    this.#records = deps.records;
    this.#jobs = deps.jobs;
    this.#clock = deps.clock;
    this.#timer = new ScheduleTimer(deps.redis, deps.prefix, deps.log, (name) => this.#look(name));
    this.#queues = new Loop("schedules", periodMs, deps.log, (signal) => this.#drain(signal));
    this.#stopListening = deps.events.listen(({ kind, to }) => {
      if (kind === "job.state" && to !== "pending" && to !== "running") this.#queues.signalled();
    });
  }

  /** Settles what fell due while no SMS ran, and sets the timers that are not. */
  async start(): Promise<void> {
    for (const name of await this.#records.names()) {
      await this.#look(name);
      const record = await this.#records.get(name);
      if (record === undefined || record.paused || (await this.#timer.has(name))) continue;
      await this.#timer.set(name, record.spec);
    }
  }

  /** Creates or replaces a schedule. Throws `invalid_argument`, or `too_many_requests`. */
  async put(name: string, times: unknown, job: JobSpec): Promise<Schedule> {
    check(scheduleName, name, "name");
    const spec: ScheduleSpec = { ...check(ScheduleTimes, times, "spec"), job };
    checkCron(spec, "spec");
    if (!(await this.#read(() => this.#records.put(name, spec, this.#clock.nowMs())))) {
      throw new Fault("too_many_requests", `there are ${maxSchedules} schedules already`, {
        help: "delete one that is no longer needed",
      });
    }
    const { paused } = await this.#get(name);
    if (!paused) await this.#read(() => this.#timer.set(name, spec));
    return this.get(name);
  }

  /** Throws `schedule_not_found`. */
  async get(name: string): Promise<Schedule> {
    return this.#shown(await this.#get(name));
  }

  async list(): Promise<Schedule[]> {
    const names = await this.#read(() => this.#records.names());
    const records = await this.#read(() =>
      Promise.all(names.map((name) => this.#records.get(name))),
    );
    return records.flatMap((record) => (record === undefined ? [] : [this.#shown(record)]));
  }

  /** Its jobs go on. Throws `schedule_not_found`. */
  async delete(name: string): Promise<void> {
    await this.#read(() => this.#timer.clear(name));
    if (!(await this.#read(() => this.#records.remove(name)))) throw notFound(name);
  }

  /** Submits nothing until it is resumed, or goes on from now. Throws `schedule_not_found`. */
  async pause(name: string, on: boolean): Promise<Schedule> {
    const { spec } = await this.#get(name);
    await this.#read(() => this.#records.pause(name, on, this.#clock.nowMs()));
    await this.#read(() => (on ? this.#timer.clear(name) : this.#timer.set(name, spec)));
    return this.get(name);
  }

  async #get(name: string): Promise<ScheduleRecord> {
    const record = await this.#read(() => this.#records.get(name));
    if (record === undefined) throw notFound(name);
    return record;
  }

  /** Settles the times of a schedule that have come. */
  async #look(name: string): Promise<void> {
    const first = await this.#records.get(name);
    if (first === undefined || first.paused) return;
    const now = this.#clock.nowMs();
    const { times, passed } = dueTimes(first.spec, first.lastAtMs, now, first.spec.catchUp ?? 1);
    let record = first;
    const settle = async (atMs: number, what: Parameters<ScheduleRecords["happened"]>[2]) => {
      const done = await this.#records.happened(record, atMs, what);
      record = { ...record, lastAtMs: atMs };
      return done;
    };
    if (passed > 0) {
      const before = (times[0] ?? now + 1) - 1;
      if (!(await settle(before, { what: "skipped", count: passed }))) return;
    }
    for (const atMs of times) {
      if (!(await settle(atMs, await this.#act(record, atMs)))) return;
      record = (await this.#records.get(name)) ?? record;
    }
  }

  /** What a time comes to, by what the job before does. */
  async #act(
    record: ScheduleRecord,
    atMs: number,
  ): Promise<Parameters<ScheduleRecords["happened"]>[2]> {
    const { overlap = "skip" } = record.spec;
    const before = await this.#unended(record.lastJobId);
    if (overlap === "queue" && (before !== undefined || record.queued > 0))
      return { what: "queued" };
    if (before !== undefined && overlap === "skip") return { what: "skipped", count: 1 };
    if (before !== undefined) await this.#jobs.cancel(before);
    return { what: "submitted", jobId: await this.#submit(record, atMs) };
  }

  /** The job, if it has not ended. */
  async #unended(id: JobId | undefined): Promise<JobId | undefined> {
    if (id === undefined) return undefined;
    try {
      return isEnded((await this.#jobs.get(id)).state) ? undefined : id;
    } catch (error) {
      if (error instanceof Fault && error.code === "job_not_found") return undefined;
      throw error;
    }
  }

  async #submit({ name, spec, createdAtMs }: ScheduleRecord, atMs: number): Promise<JobId> {
    const job: Job = await this.#jobs.submit({
      spec: { ...spec.job, labels: { ...spec.job.labels, [label]: name } },
      params: {},
      idempotencyKey: `schedule/${name}/${createdAtMs}/${atMs}`,
    });
    return job.id as JobId;
  }

  /** Submits what waited for a job that has ended. */
  async #drain(signal: AbortSignal): Promise<void> {
    for (const name of await this.#records.withQueue()) {
      if (signal.aborted) return;
      const record = await this.#records.get(name);
      const atMs = await this.#records.firstQueued(name);
      if (record === undefined || record.paused || atMs === undefined) continue;
      if ((await this.#unended(record.lastJobId)) !== undefined) continue;
      await this.#records.taken(name, atMs, await this.#submit(record, atMs));
    }
  }

  #shown(record: ScheduleRecord): Schedule {
    const { name, spec, paused, lastJobId, lastAtMs, createdAtMs, submitted, skipped, queued } =
      record;
    const nextAtMs = paused ? undefined : nextAfter(spec, this.#clock.nowMs());
    return {
      name,
      spec: { ...spec, job: shownSpec(spec.job) },
      paused,
      createdAtMs,
      ...(nextAtMs === undefined ? {} : { nextAtMs }),
      ...(lastAtMs === createdAtMs ? {} : { lastAtMs }),
      ...(lastJobId === undefined ? {} : { lastJobId }),
      submitted,
      skipped,
      queued,
    };
  }

  async #read<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw redisFault(error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopListening();
    await this.#queues[Symbol.asyncDispose]();
    await this.#timer[Symbol.asyncDispose]();
  }
}

function notFound(name: string): Fault {
  return new Fault("schedule_not_found", `there is no schedule ${name}`, {
    field: "name",
    help: "list schedules with: spear schedule ls",
  });
}
