/**
 * Jobs as clients see them: submit, read, list, cancel, pause, rerun. One service under
 * both transports. A submit is all of a job or nothing, and once answered it is not
 * lost (T1). A single task is a job of one, whose record is the task's.
 */
import { Fault } from "@spear/shared/fault.ts";
import type { Clock } from "@spear/shared/clock.ts";
import { check } from "@spear/shared/check.ts";
import {
  type IdSource,
  isId,
  type JobId,
  jobOfOne,
  type NodeId,
  type TaskId,
} from "@spear/shared/ids.ts";
import { checkJobSpec, isEnded, type Job, JobSpec, type JobState } from "@spear/shared/job.ts";
import { fileFault, jobFromFile, withParams } from "@spear/shared/job-file.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import type { TaskState } from "@spear/shared/state.ts";
import type { Task, TaskSpec } from "@spear/shared/task.ts";
import { demandOf, fitsEmpty, suits } from "../scheduler/place.ts";
import type { ClusterView } from "../scheduler/view.ts";
import { withoutSecrets } from "../tasks/record.ts";
import type { RecordStore } from "../tasks/store.ts";
import type { Tasks } from "../tasks/tasks.ts";
import type { JobAdvancer } from "./advancer.ts";
import { type Plan, type PlanDeps, planJob } from "./plan.ts";
import type { JobRecords } from "./redis.ts";

export interface JobFilter {
  states: readonly JobState[];
  labels: Readonly<Record<string, string>>;
  pageSize: number;
  pageToken?: string;
}

export interface JobTaskFilter {
  states: readonly TaskState[];
  pageSize: number;
  pageToken?: string;
}

/** A job to submit: a spec, or a file as it is written; exactly one of the two. */
export interface JobRequest {
  spec?: unknown;
  file?: unknown;
  params: Readonly<Record<string, string>>;
  idempotencyKey: string | undefined;
}

const scanPage = 500;
const scanLimit = 10_000;
/** Dead letters in one replay. */
export const maxReplayed = 1_000;

const taskOf = (id: JobId) => `task_${id.slice("job_".length)}` as TaskId;

export class Jobs {
  readonly #records: JobRecords;
  readonly #taskRecords: RecordStore;
  readonly #tasks: Tasks;
  readonly #advancer: JobAdvancer;
  readonly #view: ClusterView;
  readonly #clock: Clock;
  readonly #ids: IdSource;

  constructor(deps: {
    records: JobRecords;
    taskRecords: RecordStore;
    tasks: Tasks;
    advancer: JobAdvancer;
    view: ClusterView;
    clock: Clock;
    ids: IdSource;
  }) {
    this.#records = deps.records;
    this.#taskRecords = deps.taskRecords;
    this.#tasks = deps.tasks;
    this.#advancer = deps.advancer;
    this.#view = deps.view;
    this.#clock = deps.clock;
    this.#ids = deps.ids;
  }

  /** Accepts a job. Throws `invalid_argument` and stores nothing, or `unavailable`. */
  async submit(request: JobRequest): Promise<Job> {
    const { idempotencyKey } = request;
    if (idempotencyKey !== undefined && !/^[\x21-\x7e]{1,256}$/.test(idempotencyKey)) {
      throw new Fault("invalid_argument", "idempotencyKey: must be 1–256 printable characters", {
        field: "idempotencyKey",
      });
    }
    try {
      return await this.#accept(specOf(request), { idempotencyKey });
    } catch (error) {
      throw request.file === undefined ? error : fileFault(Fault.from(error));
    }
  }

  /** The spec that a request asks for, checked whole. Throws `invalid_argument`. */
  check(request: Pick<JobRequest, "spec" | "file" | "params">): JobSpec {
    const spec = specOf(request);
    this.#plan(spec, this.#ids.next("job"));
    return spec;
  }

  #plan(spec: JobSpec, id: JobId, wanted?: PlanDeps["wanted"]): Plan {
    return planJob(spec, id, {
      check: (value, root) => this.#tasks.check(value, root),
      nodesFor: (task) => this.#nodesFor(task),
      ...(wanted === undefined ? {} : { wanted }),
    });
  }

  /** The nodes on which a task could run if they were empty, oldest first. */
  #nodesFor(spec: TaskSpec): NodeId[] {
    const demand = demandOf(spec);
    return [...this.#view.placer.nodes]
      .filter((node) => suits(demand, node) && fitsEmpty(demand, node))
      .map(({ id }) => id)
      .toSorted();
  }

  async #accept(
    spec: JobSpec,
    how: {
      idempotencyKey?: string | undefined;
      rerunOf?: JobId;
      wanted?: PlanDeps["wanted"];
    },
  ): Promise<Job> {
    await this.#read(() => this.#view.refresh());
    const id = this.#ids.next("job");
    const plan = this.#plan(spec, id, how.wanted);
    const taskIds = plan.tasks.map(() => this.#ids.next("task"));
    const { idempotencyKey, rerunOf } = how;
    const { id: known } = await this.#read(() =>
      this.#records.submit(
        { id, spec, plan, taskIds, idempotencyKey, rerunOf },
        this.#clock.nowMs(),
      ),
    );
    await this.#read(() => this.#advancer.settle(known));
    return this.get(known);
  }

  /** A job with its spec. Throws `job_not_found`. */
  async get(id: JobId): Promise<Job> {
    const job = await this.#read(() => this.#records.get(id));
    if (job === undefined) return jobOfTask(await this.#single(id));
    const spec = await this.#read(() => this.#records.spec(id));
    return spec === undefined ? job : { ...job, spec: shownSpec(spec) };
  }

  /** The task that is this job of one. Throws `job_not_found`. */
  async #single(id: JobId): Promise<Task> {
    const record = await this.#read(() => this.#taskRecords.get(taskOf(id)));
    if (record?.task.jobId === id) return record.task;
    throw new Fault("job_not_found", `there is no job ${id}`, {
      field: "jobId",
      help: "list jobs with: spear job ls",
    });
  }

  /** Newest first, without specs. The token is the last id looked at. */
  async list(filter: JobFilter): Promise<{ jobs: Job[]; nextPageToken?: string }> {
    if (filter.pageToken !== undefined && !isId("job", filter.pageToken)) throw badToken();
    const state = filter.states.length === 1 ? filter.states[0] : undefined;
    const jobs: Job[] = [];
    let before: string | undefined = filter.pageToken;
    for (let scanned = 0; scanned < scanLimit; scanned += scanPage) {
      const ids = await this.#read(() => this.#records.idsBefore(state, before, scanPage));
      const page = await this.#read(() => Promise.all(ids.map((id) => this.#records.get(id))));
      for (const job of page) {
        if (job === undefined || !matches(job, filter)) continue;
        jobs.push(job);
        if (jobs.length === filter.pageSize) return { jobs, nextPageToken: job.id };
      }
      if (ids.length < scanPage) return { jobs };
      before = ids.at(-1) as string;
    }
    return { jobs, ...(before === undefined ? {} : { nextPageToken: before }) };
  }

  /** Tasks in the order of the spec. The token is the position to go on from. Throws `job_not_found`. */
  async listTasks(
    id: JobId,
    filter: JobTaskFilter,
  ): Promise<{ tasks: Task[]; nextPageToken?: string }> {
    if (filter.pageToken !== undefined && !/^\d{1,6}$/.test(filter.pageToken)) throw badToken();
    const wanted = (task: Task) => filter.states.length === 0 || filter.states.includes(task.state);
    if ((await this.#read(() => this.#records.get(id))) === undefined) {
      return { tasks: [await this.#single(id)].filter(wanted) };
    }
    const tasks: Task[] = [];
    let from = Number(filter.pageToken ?? 0);
    for (;;) {
      const ids = await this.#read(() => this.#records.taskIds(id, from, scanPage));
      const records = await this.#read(() => this.#taskRecords.getMany(ids));
      const byId = new Map(records.map(({ task }) => [task.id, task]));
      for (const taskId of ids) {
        from += 1;
        const task = byId.get(taskId);
        if (task !== undefined && wanted(task)) tasks.push(task);
        if (tasks.length === filter.pageSize) return { tasks, nextPageToken: String(from) };
      }
      if (ids.length < scanPage) return { tasks };
    }
  }

  /** Asks every task of a job to end; also fine for one that has ended. Throws `job_not_found`. */
  async cancel(id: JobId): Promise<Job> {
    const code = await this.#read(() => this.#records.cancel(id, this.#clock.nowMs()));
    if (code === "missing") await this.#tasks.cancel((await this.#single(id)).id as TaskId);
    else await this.#read(() => this.#advancer.settle(id));
    return this.get(id);
  }

  /** Lets nothing new of a job start, or takes that back. Throws `job_not_found`, `conflict`. */
  async pause(id: JobId, on: boolean): Promise<Job> {
    const code = await this.#read(() => this.#records.pause(id, on, this.#clock.nowMs()));
    if (code === "missing") {
      await this.#single(id);
      throw conflict(id, "is a single task, which can't be paused");
    }
    if (code === "ended") throw conflict(id, "has ended");
    await this.#read(() => this.#advancer.settle(id));
    return this.get(id);
  }

  /**
   * Submits an ended job again: whole, or only the tasks that did not succeed.
   * Throws `job_not_found`, or `conflict` if it has not ended or nothing is left to do.
   */
  async rerun(id: JobId, failedOnly: boolean, idempotencyKey?: string): Promise<Job> {
    const job = await this.#read(() => this.#records.get(id));
    const spec = await this.#read(() => this.#records.spec(id));
    if (job === undefined || spec === undefined)
      return this.#rerunSingle(id, failedOnly, idempotencyKey);
    if (!isEnded(job.state)) throw conflict(id, `is ${job.state}`);
    if (!failedOnly) return this.#accept(spec, { rerunOf: id });
    const left = await this.#unfinished(id);
    if (left.size === 0) throw conflict(id, "succeeded whole: nothing is left to do");
    return this.#accept(spec, {
      rerunOf: id,
      idempotencyKey,
      // A system task is known by its node, which may have another number by now.
      wanted: (group, index, node) => left.has(`${group} ${node ?? index}`),
    });
  }

  async #rerunSingle(
    id: JobId,
    failedOnly: boolean,
    idempotencyKey: string | undefined,
  ): Promise<Job> {
    const task = await this.#single(id);
    const spec = await this.#read(() => this.#taskRecords.spec(task.id as TaskId));
    const { state } = jobOfTask(task);
    if (!isEnded(state)) throw conflict(id, `is ${state}`);
    if (failedOnly && state === "succeeded") throw conflict(id, "succeeded: nothing is left to do");
    const again = await this.#tasks.submit(spec, idempotencyKey);
    return this.get(jobOfOne(again.id as TaskId));
  }

  /** Tasks that failed for good and were not run again, newest first. The token is the last id. */
  async listDeadLetters(
    pageSize: number,
    pageToken: string | undefined,
  ): Promise<{ tasks: Task[]; nextPageToken?: string }> {
    if (pageToken !== undefined && !isId("task", pageToken)) throw badToken();
    const ids = await this.#read(() => this.#records.deadLetters(pageToken, pageSize));
    const records = await this.#read(() => this.#taskRecords.getMany(ids));
    const last = ids.length < pageSize ? undefined : ids.at(-1);
    return {
      tasks: records.map(({ task }) => task),
      ...(last === undefined ? {} : { nextPageToken: last }),
    };
  }

  /**
   * Runs tasks that failed for good again: a single one as it is, one of a job with all of
   * the job that did not succeed. What is replayed is no dead letter any more; a replay
   * that is asked for again after a crash is the same one. Throws `task_not_found`, or
   * `conflict` for one that has not failed or whose job has not ended.
   */
  async replayDeadLetters(ids: readonly TaskId[]): Promise<Job[]> {
    if (ids.length === 0 || ids.length > maxReplayed) {
      throw new Fault("invalid_argument", `taskIds: give 1 to ${maxReplayed}, not ${ids.length}`, {
        field: "taskIds",
      });
    }
    const failed = new Map<JobId, TaskId[]>();
    for (const id of ids) {
      const { state, jobId } = await this.#tasks.get(id);
      if (state !== "failed" && state !== "timed_out") {
        throw new Fault("conflict", `task ${id} is ${state}`, { field: "taskIds" });
      }
      failed.set(jobId as JobId, [...(failed.get(jobId as JobId) ?? []), id]);
    }
    const jobs: Job[] = [];
    for (const [jobId, letters] of failed) {
      jobs.push(await this.rerun(jobId, true, `replay-${jobId}`));
      await this.#forgetLetters(jobId, letters);
    }
    return jobs;
  }

  /** All of a job's letters: its whole failed part runs again. */
  async #forgetLetters(jobId: JobId, letters: readonly TaskId[]): Promise<void> {
    await this.#read(() => this.#records.forgetDeadLetters(letters));
    for (let from = 0; ; from += scanPage) {
      const ids = await this.#read(() => this.#records.taskIds(jobId, from, scanPage));
      await this.#read(() => this.#records.forgetDeadLetters(ids));
      if (ids.length < scanPage) return;
    }
  }

  /** Group and index, or node, of a job's tasks that did not succeed. */
  async #unfinished(id: JobId): Promise<Set<string>> {
    const left = new Set<string>();
    for (let from = 0; ; from += scanPage) {
      const ids = await this.#read(() => this.#records.taskIds(id, from, scanPage));
      const records = await this.#read(() => this.#taskRecords.getMany(ids));
      const lost = records.filter(({ task }) => task.state !== "succeeded");
      const places = await this.#read(() =>
        this.#records.places(lost.map(({ task }) => task.id as TaskId)),
      );
      for (const [at, { group, index }] of places.entries()) {
        left.add(`${group} ${lost[at]?.task.spec.nodeId ?? index}`).add(`${group} ${index}`);
      }
      if (ids.length < scanPage) return left;
    }
  }

  async #read<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw redisFault(error);
    }
  }
}

const badToken = () =>
  new Fault("invalid_argument", "pageToken: is not a token of this list", { field: "pageToken" });

const conflict = (id: JobId, said: string) =>
  new Fault("conflict", `job ${id} ${said}`, { field: "jobId" });

/** The spec that a request asks for, parameters substituted. Throws `invalid_argument`. */
function specOf({ spec, file, params }: Pick<JobRequest, "spec" | "file" | "params">): JobSpec {
  if ((spec === undefined) === (file === undefined)) {
    throw new Fault("invalid_argument", "spec: give exactly one of spec and file", {
      field: "spec",
    });
  }
  if (file !== undefined) return jobFromFile(file, params);
  if (typeof spec !== "object" || spec === null) return checkJobSpec(spec);
  const { params: declared, ...rest } = spec as Record<string, unknown>;
  const defaults = check(JobSpec.properties.params, declared ?? {}, "spec.params") ?? {};
  const unknown = Object.keys(params).find((name) => !Object.hasOwn(defaults, name));
  if (unknown !== undefined) {
    throw new Fault("invalid_argument", `params.${unknown}: the job has no such parameter`, {
      field: `params.${unknown}`,
      help: `it has ${Object.keys(defaults).join(", ") || "none"}`,
    });
  }
  const values = { ...defaults, ...params };
  return checkJobSpec({
    ...(withParams(rest, values, "spec") as object),
    ...(Object.keys(values).length === 0 ? {} : { params: values }),
  });
}

/** A spec fit to be shown: names of secrets stay, values go. */
export function shownSpec(spec: JobSpec): JobSpec {
  const tasks = Object.entries(spec.tasks).map(([name, one]) => [
    name,
    { ...one, task: withoutSecrets(one.task) },
  ]);
  return { ...spec, tasks: Object.fromEntries(tasks) as JobSpec["tasks"] };
}

function matches(job: Job, filter: JobFilter): boolean {
  return (
    (filter.states.length === 0 || filter.states.includes(job.state)) &&
    Object.entries(filter.labels).every(([name, value]) => job.labels[name] === value)
  );
}

const statesOfOne: Readonly<Record<TaskState, JobState>> = {
  pending: "pending",
  assigned: "pending",
  running: "running",
  succeeded: "succeeded",
  failed: "failed",
  timed_out: "failed",
  cancelled: "cancelled",
};

/** The job that a single task forms. */
function jobOfTask(task: Task): Job {
  const state = statesOfOne[task.state];
  const begun = task.attempt > 1 || (task.attempt === 1 && task.state === "pending");
  return {
    id: task.jobId,
    name: task.name,
    spec: { name: task.name, tasks: { [taskKey(task.name)]: { task: task.spec } } },
    state: state === "pending" && begun ? "running" : state,
    counts: { [task.state]: 1 },
    total: 1,
    labels: task.spec.labels ?? {},
    seq: task.seq,
    createdAtMs: task.createdAtMs,
    ...(task.startedAtMs === undefined ? {} : { startedAtMs: task.startedAtMs }),
    ...(task.finishedAtMs === undefined ? {} : { finishedAtMs: task.finishedAtMs }),
    ...(task.failure === undefined || state !== "failed" ? {} : { failure: task.failure }),
    cancelRequested: task.cancelRequested,
    paused: false,
  };
}

/** A task's name as a key of a job's tasks, which has no dots and is shorter. */
const taskKey = (name: string) => name.replaceAll(".", "-").slice(0, 63);
