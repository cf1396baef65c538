/**
 * Schedules: jobs that are submitted again and again, by the clock. A schedule's record
 * says up to which time everything is settled. Whoever looks, on a tick of the timer or
 * at the start of SMS, settles what is due since, each time in one step: it is passed
 * over, or put into the schedule's queue. What is in the queue is submitted, under an
 * idempotency key that holds the time, and only then taken out. So each time becomes
 * one job or none, whichever replicas look and wherever one of them dies.
 */
import { check } from "@spear/shared/check.ts";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { JobId } from "@spear/shared/ids.ts";
import { isEnded, type JobSpec } from "@spear/shared/job.ts";
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
  readonly #log: Log;
  readonly #timer: ScheduleTimer;
  readonly #loop: Loop;
  #restored = false;
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
    this.#log = deps.log;
    this.#timer = new ScheduleTimer(deps.redis, deps.prefix, deps.log, (name) => this.#look(name));
    this.#loop = new Loop("schedules", periodMs, deps.log, (signal) => this.#step(signal));
    this.#stopListening = deps.events.listen(({ kind, to }) => {
      if (kind === "job.state" && to !== "pending" && to !== "running") this.#loop.signalled();
    });
  }

  /** Submits what waited for a job that has ended; at first also what fell due before. */
  async #step(signal: AbortSignal): Promise<void> {
    if (!this.#restored) await this.#restore(signal);
    this.#restored = true;
    for (const name of await this.#records.withQueue()) {
      if (signal.aborted) return;
      await this.#submitQueued(name);
    }
  }

  /** Sets the timers that are not, and settles what fell due while no SMS ran. */
  async #restore(signal: AbortSignal): Promise<void> {
    for (const name of await this.#records.names()) {
      if (signal.aborted) return;
      const record = await this.#records.get(name);
      if (record === undefined || record.paused) continue;
      if (!(await this.#timer.has(name))) await this.#timer.set(name, record.spec);
      await this.#look(name);
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

  /** Settles the times of a schedule that have come, and submits what may be submitted. */
  async #look(name: string): Promise<void> {
    const record = await this.#records.get(name);
    if (record === undefined || record.paused) return;
    const now = this.#clock.nowMs();
    const { catchUp = 1, overlap = "skip" } = record.spec;
    const { times, passed } = dueTimes(record.spec, record.lastAtMs, now, catchUp);
    if (passed > 0) {
      const before = (times[0] ?? now + 1) - 1;
      if (!(await this.#records.skip(record, before, passed))) return;
      record.lastAtMs = before;
    }
    for (const atMs of times) {
      const busy = overlap === "skip" && (await this.#isBusy(name));
      const settled = busy
        ? await this.#records.skip(record, atMs, 1)
        : await this.#records.queue(record, atMs);
      if (!settled) return;
      record.lastAtMs = atMs;
      await this.#submitQueued(name);
    }
  }

  /** True if a job of the schedule has not ended, or will be submitted at once. */
  async #isBusy(name: string): Promise<boolean> {
    const record = await this.#records.get(name);
    if (record === undefined) return false;
    return record.queued > 0 || (await this.#unended(record.lastJobId)) !== undefined;
  }

  /** Submits the times in the queue, as far as the job before allows. */
  async #submitQueued(name: string): Promise<void> {
    for (;;) {
      const atMs = await this.#records.firstQueued(name);
      const record = await this.#records.get(name);
      if (record === undefined || record.paused || atMs === undefined) return;
      // Taken by somebody between the two, it is itself the job that was submitted last.
      if ((await this.#records.firstQueued(name)) !== atMs) continue;
      const before = await this.#unended(record.lastJobId);
      if (before !== undefined && record.spec.overlap !== "replace") return;
      if (before !== undefined) await this.#jobs.cancel(before);
      await this.#records.take(name, atMs, await this.#submit(record, atMs));
    }
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

  /** The job of a time; undefined if it is refused, as where no node suits a system task. */
  async #submit(
    { name, spec, createdAtMs }: ScheduleRecord,
    atMs: number,
  ): Promise<JobId | undefined> {
    try {
      const job = await this.#jobs.submit({
        spec: { ...spec.job, labels: { ...spec.job.labels, [label]: name } },
        params: {},
        idempotencyKey: `schedule/${name}/${createdAtMs}/${atMs}`,
      });
      return job.id as JobId;
    } catch (error) {
      const fault = Fault.from(error);
      if (fault.row.retryable || fault.code === "internal") throw fault;
      this.#log.warn({ schedule: name, atMs, code: fault.code }, "the job of a time is refused");
      return undefined;
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
    await this.#loop[Symbol.asyncDispose]();
    await this.#timer[Symbol.asyncDispose]();
  }
}

function notFound(name: string): Fault {
  return new Fault("schedule_not_found", `there is no schedule ${name}`, {
    field: "name",
    help: "list schedules with: spear schedule ls",
  });
}
