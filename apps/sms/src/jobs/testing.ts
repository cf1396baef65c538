/** What the tests of job records share: a namespace of its own with one roomy node, and hands. */
import { systemIds, type JobId, type NodeId, type TaskId } from "@spear/shared/ids.ts";
import type { Job, JobSpec } from "@spear/shared/job.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { TaskState } from "@spear/shared/state.ts";
import { checkTaskSpec } from "@spear/shared/task.ts";
import type { Redis } from "ioredis";
import { NodeRecords } from "../nodes/redis.ts";
import { TaskRecords } from "../tasks/redis.ts";
import { planJob } from "./plan.ts";
import { JobRecords } from "./redis.ts";

/** A task that runs nothing and needs next to nothing. */
export const mock = { mock: {}, resources: { cpu: 0.001, memoryBytes: 1 } };

const eventsKept = 100_000;

export class JobWorld {
  readonly keys = new Keys(`t${Math.random().toString(36).slice(2, 10)}`);
  readonly node = systemIds.next("node");
  readonly jobs: JobRecords;
  readonly tasks: TaskRecords;
  readonly #redis: Redis;
  /** The time, which only tests change. */
  now = 1_000;

  private constructor(redis: Redis) {
    this.#redis = redis;
    this.jobs = new JobRecords(redis, this.keys, eventsKept);
    this.tasks = new TaskRecords(redis, this.keys, eventsKept);
  }

  static async fresh(redis: Redis): Promise<JobWorld> {
    const world = new JobWorld(redis);
    const nodes = new NodeRecords(redis, world.keys, eventsKept);
    await nodes.register(
      {
        id: world.node satisfies NodeId,
        name: "n",
        incarnation: "i1",
        httpAddress: "",
        grpcAddress: "",
        capacity: { cpu: 1_000, memoryBytes: 1_000_000, slots: 100_000, extras: {} },
        labels: {},
        runtimes: [],
        facts: { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" },
      },
      world.now,
      60_000,
    );
    return world;
  }

  async submit(spec: JobSpec, idempotencyKey?: string): Promise<JobId> {
    const id = systemIds.next("job");
    const plan = planJob(spec, id, { check: checkTaskSpec, nodesFor: () => [] });
    const taskIds = plan.tasks.map(() => systemIds.next("task"));
    const job = { id, spec, plan, taskIds, idempotencyKey, rerunOf: undefined };
    return (await this.jobs.submit(job, this.now)).id;
  }

  /** Does all that is due for a job; the number of tasks released. */
  async settle(id: JobId, limit = 500): Promise<number> {
    let released = 0;
    for (;;) {
      const step = await this.jobs.advance(id, this.now, limit);
      released += step.released;
      if (!step.more) return released;
    }
  }

  /** Tasks that wait for a node. */
  async waiting(): Promise<TaskId[]> {
    const classes = await this.#redis.zrange(this.keys.pendingClasses, 0, "-1");
    const members = await Promise.all(
      classes.map((one) => this.#redis.zrange(this.keys.pendingClass(one), 0, "-1")),
    );
    return members.flat() as TaskId[];
  }

  async move(id: TaskId, to: TaskState, notBeforeMs = 0): Promise<void> {
    const target = to === "assigned" ? { nodeId: this.node } : {};
    await this.tasks.transition({ id, to, reason: "test", notBeforeMs, ...target }, this.now);
  }

  /** From waiting through running to a state. */
  async run(id: TaskId, to: TaskState): Promise<void> {
    for (const state of ["assigned", "running", to] as const) await this.move(id, state);
  }

  async get(id: JobId): Promise<Job> {
    const job = await this.jobs.get(id);
    if (job === undefined) throw new Error("the job is gone");
    return job;
  }

  /** State of each task of a job, by name. */
  async statesOf(id: JobId): Promise<Record<string, TaskState>> {
    const records = await this.tasks.getMany(await this.jobs.taskIds(id, 0, 1_000));
    return Object.fromEntries(records.map(({ task }) => [task.name, task.state]));
  }

  async idOf(id: JobId, name: string): Promise<TaskId> {
    const records = await this.tasks.getMany(await this.jobs.taskIds(id, 0, 1_000));
    return records.find(({ task }) => task.name === name)?.task.id as TaskId;
  }
}
