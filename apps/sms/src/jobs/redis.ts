/** Job records in Redis: the typed wrapper of their scripts, and the reads beside them. */
import type { JobId, TaskId } from "@spear/shared/ids.ts";
import {
  defaultRetentionMs,
  type Job,
  type JobSpec,
  type JobState,
  jobStates,
} from "@spear/shared/job.ts";
import type { Keys } from "@spear/shared/redis/keys.ts";
import { taskStates } from "@spear/shared/state.ts";
import type { Failure } from "@spear/shared/task.ts";
import { runtimeOf } from "@spear/shared/task.ts";
import type { Redis } from "ioredis";
import { classOf, extrasText, heedOf, nameOf, needOf, rankOf } from "../tasks/record.ts";
import { smsScript } from "../tasks/redis.ts";
import advanceLua from "./advance.lua" with { type: "text" };
import cancelLua from "./cancel.lua" with { type: "text" };
import pauseLua from "./pause.lua" with { type: "text" };
import type { Plan } from "./plan.ts";
import submitLua from "./submit.lua" with { type: "text" };
import unfoldLua from "./unfold.lua" with { type: "text" };

const idempotencyMs = 24 * 3_600_000;

const submit = smsScript<[string, string]>("job_submit", 2, submitLua);
const advance = smsScript<[number, number]>("job_advance", 1, unfoldLua, advanceLua);
const cancel = smsScript<[string]>("job_cancel", 1, cancelLua);
const pause = smsScript<[string]>("job_pause", 1, pauseLua);

const shownFields = [
  "state", "name", "labels", "seq", "created", "started", "finished", "total", "failure", "cancel", "paused",
  "rerunOf", ...taskStates,
] as const; // prettier-ignore

export interface NewJob {
  id: JobId;
  spec: JobSpec;
  plan: Plan;
  taskIds: readonly TaskId[];
  idempotencyKey: string | undefined;
  rerunOf: JobId | undefined;
}

/** What one step for a job did. */
export interface Step {
  /** There is more to do now. */
  more: boolean;
  /** Tasks that wait for a node since. */
  released: number;
}

export class JobRecords {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #eventsKept: number;

  constructor(redis: Redis, keys: Keys, eventsKept: number) {
    this.#redis = redis;
    this.#keys = keys;
    this.#eventsKept = eventsKept;
  }

  /** Creates a job with its tasks; or gives the one that the idempotency key already has. */
  async submit(job: NewJob, nowMs: number): Promise<{ created: boolean; id: JobId }> {
    const { id, spec, plan, idempotencyKey } = job;
    const record: Record<string, string | number> = {
      name: spec.name ?? id.slice(-8).toLowerCase(),
      spec: JSON.stringify(spec),
      onFailure: spec.onFailure ?? "stop",
      parallelism: spec.parallelism ?? 0,
      start: spec.delayMs === undefined || spec.delayMs === 0 ? 0 : nowMs + spec.delayMs,
      deadline:
        spec.deadlineMs === undefined || spec.deadlineMs === 0 ? 0 : nowMs + spec.deadlineMs,
      retention: spec.retentionMs ?? defaultRetentionMs,
      ...(spec.labels === undefined ? {} : { labels: JSON.stringify(spec.labels) }),
      ...(job.rerunOf === undefined ? {} : { rerunOf: job.rerunOf }),
    };
    const needs = new Map<string, { number: number; values: (string | number)[] }>();
    const tasks = plan.tasks.flatMap(({ group, index, spec: task }, at) => {
      const need = needOf(task);
      const values = [
        runtimeOf(task),
        classOf(task, id),
        rankOf(task, nowMs),
        need.cpuMilli,
        need.memoryBytes,
        extrasText(need.extras),
        task.delayMs ?? 0,
        heedOf(task),
      ];
      const key = values.join();
      const known = needs.get(key) ?? { number: needs.size, values };
      needs.set(key, known);
      const taskId = job.taskIds[at] as TaskId;
      return [
        taskId,
        `${group} ${index}`,
        known.number,
        nameOf(taskId, task),
        JSON.stringify(task),
      ];
    });
    const [code, known] = await submit.run(
      this.#redis,
      [
        this.#keys.seq,
        idempotencyKey === undefined
          ? this.#keys.job(id)
          : this.#keys.jobIdempotency(idempotencyKey),
      ],
      [
        nowMs,
        this.#eventsKept,
        id,
        idempotencyKey === undefined ? 0 : idempotencyMs,
        Object.keys(record).length,
        plan.groups.length,
        needs.size,
        plan.tasks.length,
        ...Object.entries(record).flat(),
        ...plan.groups.flatMap(({ count, waits, dependents }) => [
          count,
          waits,
          dependents.join(" "),
        ]),
        ...[...needs.values()].flatMap(({ values }) => values),
        ...tasks,
      ],
    );
    return { created: code === "created", id: known as JobId };
  }

  /** Does up to `limit` tasks' worth of what is due for a job; see advance.lua. */
  async advance(id: JobId, nowMs: number, limit: number): Promise<Step> {
    const [more, released] = await advance.run(
      this.#redis,
      [this.#keys.seq],
      [nowMs, this.#eventsKept, id, limit],
    );
    return { more: more === 1, released };
  }

  /** Asks a job to end; its tasks end with the steps that follow. */
  async cancel(id: JobId, nowMs: number): Promise<"ok" | "ended" | "missing"> {
    const [code] = await cancel.run(this.#redis, [this.#keys.seq], [nowMs, this.#eventsKept, id]);
    return code as "ok" | "ended" | "missing";
  }

  /** Holds or releases what has not started; takes effect with the steps that follow. */
  async pause(id: JobId, on: boolean, nowMs: number): Promise<"ok" | "ended" | "missing"> {
    const [code] = await pause.run(
      this.#redis,
      [this.#keys.seq],
      [nowMs, this.#eventsKept, id, on ? "1" : ""],
    );
    return code as "ok" | "ended" | "missing";
  }

  /** Jobs for which something is due, longest first. */
  due(nowMs: number, limit: number): Promise<JobId[]> {
    return this.#redis.zrangebyscore(
      this.#keys.jobsDue,
      "-inf",
      nowMs,
      "LIMIT",
      0,
      limit,
    ) as Promise<JobId[]>;
  }

  /** How many jobs are in each state. */
  counts(): Promise<{ state: JobState; count: number }[]> {
    return Promise.all(
      jobStates.map(async (state) => ({
        state,
        count: await this.#redis.zcard(this.#keys.jobsIn(state)),
      })),
    );
  }

  /** A job without its spec. */
  async get(id: JobId): Promise<Job | undefined> {
    return decodeJob(id, await this.#redis.hmget(this.#keys.job(id), ...shownFields));
  }

  /** The spec as submitted, secrets included: never to be shown. */
  async spec(id: JobId): Promise<JobSpec | undefined> {
    const text = await this.#redis.hget(this.#keys.job(id), "spec");
    return text === null ? undefined : (JSON.parse(text) as JobSpec);
  }

  /** Ids below `before` (exclusive), newest first, of one state or of all. */
  idsBefore(
    state: JobState | undefined,
    before: string | undefined,
    limit: number,
  ): Promise<JobId[]> {
    const index = state === undefined ? this.#keys.jobs : this.#keys.jobsIn(state);
    const max = before === undefined ? "+" : `(${before}`;
    return this.#redis.zrevrangebylex(index, max, "-", "LIMIT", 0, limit) as Promise<JobId[]>;
  }

  /** Ids of a job's tasks from a position on, in the order of its spec. */
  taskIds(id: JobId, from: number, limit: number): Promise<TaskId[]> {
    return this.#redis.lrange(this.#keys.jobTasks(id), from, from + limit - 1) as Promise<TaskId[]>;
  }

  /** Tasks that failed for good below `before` (exclusive), newest first. */
  deadLetters(before: string | undefined, limit: number): Promise<TaskId[]> {
    const max = before === undefined ? "+" : `(${before}`;
    return this.#redis.zrevrangebylex(
      this.#keys.deadLetters,
      max,
      "-",
      "LIMIT",
      0,
      limit,
    ) as Promise<TaskId[]>;
  }

  /** These are run again, or need not be. */
  async forgetDeadLetters(ids: readonly TaskId[]): Promise<void> {
    if (ids.length > 0) await this.#redis.zrem(this.#keys.deadLetters, ...ids);
  }

  /** Group and index of tasks, in the order of `ids`. */
  async places(ids: readonly TaskId[]): Promise<{ group: number; index: number }[]> {
    const texts = await Promise.all(ids.map((id) => this.#redis.hget(this.#keys.task(id), "p")));
    return texts.map((text) => {
      const [group = 0, index = 0] = (text ?? "").split(" ").map(Number);
      return { group, index };
    });
  }
}

/** The job from the values of `shownFields`; undefined if there is none. */
function decodeJob(id: JobId, values: readonly (string | null)[]): Job | undefined {
  const at = (field: (typeof shownFields)[number]): string | undefined =>
    values[shownFields.indexOf(field)] ?? undefined;
  const state = at("state") as JobState | undefined;
  if (state === undefined) return undefined;
  const time = <K extends string>(key: K, value: string | undefined) =>
    (value === undefined ? {} : { [key]: Number(value) }) as { [P in K]?: number };
  const failure = at("failure");
  const rerunOf = at("rerunOf");
  return {
    id,
    name: at("name") ?? "",
    state,
    counts: Object.fromEntries(
      taskStates.flatMap((name) => {
        const count = Number(at(name) ?? 0);
        return count === 0 ? [] : [[name, count]];
      }),
    ),
    total: Number(at("total")),
    labels: JSON.parse(at("labels") ?? "{}") as Record<string, string>,
    seq: Number(at("seq")),
    createdAtMs: Number(at("created")),
    ...time("startedAtMs", at("started")),
    ...time("finishedAtMs", at("finished")),
    ...(failure === undefined ? {} : { failure: JSON.parse(failure) as Failure }),
    cancelRequested: at("cancel") === "1",
    paused: at("paused") === "1",
    ...(rerunOf === undefined ? {} : { rerunOf }),
  };
}
