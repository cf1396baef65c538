/** Job records against a real Redis: counts, states and releases are exact whatever happens. */
import { systemIds, type JobId, type NodeId, type TaskId } from "@spear/shared/ids.ts";
import { isEnded, type Job, type JobSpec } from "@spear/shared/job.ts";
import { silentLog } from "@spear/shared/log.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { isTerminal, type TaskState } from "@spear/shared/state.ts";
import { checkTaskSpec } from "@spear/shared/task.ts";
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { NodeRecords } from "../nodes/redis.ts";
import { decodeEvent } from "../tasks/record.ts";
import { TaskRecords } from "../tasks/redis.ts";
import { planJob } from "./plan.ts";
import { JobRecords } from "./redis.ts";

const redis = connectRedis(process.env["SPEAR_TEST_REDIS"] ?? "", "commands", silentLog);
afterAll(() => redis.disconnect());

const mock = { mock: {}, resources: { cpu: 0.001, memoryBytes: 1 } };
let keys: Keys;
let jobs: JobRecords;
let tasks: TaskRecords;
let node: NodeId;
let now = 0;

async function fresh(): Promise<void> {
  keys = new Keys(`t${Math.random().toString(36).slice(2, 10)}`);
  jobs = new JobRecords(redis, keys, 100_000);
  tasks = new TaskRecords(redis, keys, 100_000);
  now = 1_000;
  node = systemIds.next("node");
  await new NodeRecords(redis, keys, 100_000).register(
    {
      id: node,
      name: "n",
      incarnation: "i1",
      httpAddress: "",
      grpcAddress: "",
      capacity: { cpu: 1_000, memoryBytes: 1_000_000, slots: 100_000, extras: {} },
      labels: {},
      runtimes: [],
      facts: { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" },
    },
    now,
    60_000,
  );
}
beforeEach(fresh);

async function submit(spec: JobSpec, idempotencyKey?: string): Promise<JobId> {
  const id = systemIds.next("job");
  const plan = planJob(spec, id, { check: checkTaskSpec, nodesFor: () => [] });
  const taskIds = plan.tasks.map(() => systemIds.next("task"));
  const submitted = await jobs.submit(
    { id, spec, plan, taskIds, idempotencyKey, rerunOf: undefined },
    now,
  );
  return submitted.id;
}

async function settle(id: JobId, limit = 500): Promise<number> {
  let released = 0;
  for (;;) {
    const step = await jobs.advance(id, now, limit);
    released += step.released;
    if (!step.more) return released;
  }
}

/** Tasks that wait for a node. */
async function waiting(): Promise<TaskId[]> {
  const classes = await redis.zrange(keys.pendingClasses, 0, "-1");
  const members = await Promise.all(
    classes.map((one) => redis.zrange(keys.pendingClass(one), 0, "-1")),
  );
  return members.flat() as TaskId[];
}

const move = (id: TaskId, to: TaskState, notBeforeMs = 0) =>
  tasks.transition(
    { id, to, reason: "test", notBeforeMs, ...(to === "assigned" ? { nodeId: node } : {}) },
    now,
  );

async function run(id: TaskId, to: TaskState): Promise<void> {
  await move(id, "assigned");
  await move(id, "running");
  await move(id, to);
}

async function get(id: JobId): Promise<Job> {
  const job = await jobs.get(id);
  if (job === undefined) throw new Error("the job is gone");
  return job;
}

/** State of each task of a job, by name. */
async function statesOf(id: JobId): Promise<Record<string, TaskState>> {
  const records = await tasks.getMany(await jobs.taskIds(id, 0, 1_000));
  return Object.fromEntries(records.map(({ task }) => [task.name, task.state]));
}
const idOf = async (job: JobId, name: string): Promise<TaskId> => {
  const records = await tasks.getMany(await jobs.taskIds(job, 0, 1_000));
  return records.find(({ task }) => task.name === name)?.task.id as TaskId;
};

const diamond: JobSpec = {
  tasks: {
    a: { task: mock },
    b: { task: mock, replicas: 2, dependsOn: ["a"] },
    c: { task: mock, dependsOn: ["a"] },
    d: { task: mock, dependsOn: ["b", "c"] },
  },
};

describe("dependencies", () => {
  test("release a task when all it waits for has succeeded, and the job ends with the last", async () => {
    const id = await submit(diamond);
    expect(await waiting()).toEqual([]);
    expect(await jobs.due(now, 10)).toEqual([id]);
    expect(await settle(id)).toBe(1);
    expect(await jobs.due(now + 1e6, 10)).toEqual([]);
    expect((await get(id)).state).toBe("pending");
    await run(await idOf(id, "a"), "succeeded");
    expect((await get(id)).state).toBe("running");
    expect(await settle(id)).toBe(3);
    await run(await idOf(id, "b-0"), "succeeded");
    await run(await idOf(id, "c"), "succeeded");
    expect(await settle(id)).toBe(0);
    await run(await idOf(id, "b-1"), "succeeded");
    expect(await settle(id)).toBe(1);
    expect(await get(id)).toMatchObject({ state: "running", counts: { succeeded: 4, pending: 1 } });
    await run(await idOf(id, "d"), "succeeded");
    expect(await get(id)).toMatchObject({ state: "succeeded", counts: { succeeded: 5 }, total: 5 });
  });

  test("survive a retry: a task that goes back to pending keeps its place", async () => {
    const id = await submit(diamond);
    await settle(id);
    const a = await idOf(id, "a");
    await run(a, "pending");
    expect(await waiting()).toEqual([a]);
    expect(await settle(id)).toBe(0);
    await run(a, "succeeded");
    expect(await settle(id)).toBe(3);
  });

  test("keep a task's own delay from its release", async () => {
    const id = await submit({
      tasks: {
        a: { task: mock },
        b: { task: { ...mock, delayMs: 500 }, dependsOn: ["a"] },
      },
    });
    await settle(id);
    await run(await idOf(id, "a"), "succeeded");
    now = 5_000;
    await settle(id);
    expect(await waiting()).toEqual([]);
    expect(await tasks.nextDueMs()).toBe(5_500);
  });
});

describe("a task that fails for good", () => {
  test("ends the rest of its job: waiting ones at once, running ones by request", async () => {
    const id = await submit({
      ...diamond,
      tasks: { ...diamond.tasks, e: { task: mock }, f: { task: mock } },
    });
    await settle(id);
    const [a, e, f] = [await idOf(id, "a"), await idOf(id, "e"), await idOf(id, "f")];
    await move(e, "assigned");
    await move(f, "assigned");
    await move(f, "running");
    await run(a, "failed");
    const step = await jobs.advance(id, now, 500);
    expect(step.withdrawn).toEqual([{ nodeId: node, taskId: e, attempt: 1 }]);
    expect(await get(id)).toMatchObject({
      state: "running",
      counts: { failed: 1, cancelled: 5, running: 1 },
      failure: { code: "task_failed", message: `a (${a}) ended as failed` },
    });
    await move(f, "pending");
    expect(await statesOf(id)).toMatchObject({ f: "cancelled" });
    expect((await get(id)).state).toBe("failed");
  });

  test("with continue ends only those that depend on it, however far", async () => {
    const id = await submit({
      ...diamond,
      onFailure: "continue",
      tasks: { ...diamond.tasks, e: { task: mock, dependsOn: ["c"] }, f: { task: mock } },
    });
    await settle(id);
    await run(await idOf(id, "a"), "succeeded");
    await settle(id);
    await run(await idOf(id, "b-1"), "timed_out");
    await settle(id);
    expect(await statesOf(id)).toEqual({
      a: "succeeded", "b-0": "pending", "b-1": "timed_out", c: "pending", d: "cancelled", e: "pending", f: "pending",
    }); // prettier-ignore
    for (const name of ["b-0", "c", "f"]) await run(await idOf(id, name), "succeeded");
    await settle(id);
    await run(await idOf(id, "e"), "succeeded");
    expect(await get(id)).toMatchObject({
      state: "failed",
      counts: { succeeded: 5, timed_out: 1, cancelled: 1 },
    });
    const reasons = await tasks.history(await idOf(id, "d"));
    expect(reasons?.at(-1)).toMatchObject({ to: "cancelled", reason: "dependency_failed" });
  });
});

describe("parallelism", () => {
  test("lets only so many tasks go at once", async () => {
    const id = await submit({ parallelism: 3, tasks: { a: { task: mock, replicas: 10 } } });
    let done = 0;
    for (;;) {
      await settle(id);
      const ready = await waiting();
      if (ready.length === 0) break;
      expect(ready.length).toBe(Math.min(3, 10 - done));
      await run(ready[0] as TaskId, "succeeded");
      done += 1;
    }
    expect((await get(id)).state).toBe("succeeded");
  });

  test("is not used up by a task that was cancelled before it was released", async () => {
    const id = await submit({
      parallelism: 1,
      onFailure: "continue",
      tasks: { a: { task: mock, replicas: 3 } },
    });
    await settle(id);
    await tasks.cancel(await idOf(id, "a-1"), now);
    await run(await idOf(id, "a-0"), "succeeded");
    await settle(id);
    expect(await waiting()).toEqual([await idOf(id, "a-2")]);
  });
});

describe("a job", () => {
  test("is one job for one idempotency key, also at the same time", async () => {
    const ids = await Promise.all(Array.from({ length: 20 }, () => submit(diamond, "k")));
    expect(new Set(ids).size).toBe(1);
    await settle(ids[0] as JobId);
    expect(await tasks.countIn("pending")).toBe(5);
  });

  test("that is cancelled ends its tasks, and is cancelled with the last", async () => {
    const id = await submit(diamond);
    await settle(id);
    const a = await idOf(id, "a");
    await move(a, "assigned");
    await move(a, "running");
    expect(await jobs.cancel(id, now)).toBe("ok");
    await settle(id);
    expect(await get(id)).toMatchObject({
      state: "running",
      cancelRequested: true,
      counts: { running: 1, cancelled: 4 },
    });
    await move(a, "cancelled");
    expect((await get(id)).state).toBe("cancelled");
    expect(await jobs.cancel(id, now)).toBe("ended");
    expect(await jobs.cancel(systemIds.next("job"), now)).toBe("missing");
  });

  test("whose tasks all succeed although it was cancelled has succeeded", async () => {
    const id = await submit({ tasks: { a: { task: mock } } });
    await settle(id);
    const a = await idOf(id, "a");
    await move(a, "assigned");
    await move(a, "running");
    await jobs.cancel(id, now);
    await settle(id);
    await move(a, "succeeded");
    expect((await get(id)).state).toBe("succeeded");
  });

  test("ends at its deadline", async () => {
    const id = await submit({ ...diamond, deadlineMs: 5_000 });
    await settle(id);
    expect(await jobs.due(now + 4_999, 10)).toEqual([]);
    expect(await jobs.due(now + 5_000, 10)).toEqual([id]);
    now += 5_000;
    await settle(id);
    expect(await get(id)).toMatchObject({
      state: "failed",
      counts: { cancelled: 5 },
      failure: { code: "deadline" },
    });
  });

  test("with a delay starts then, and its deadline counts from the submit", async () => {
    const id = await submit({ ...diamond, delayMs: 1_000, deadlineMs: 3_000 });
    expect(await settle(id)).toBe(0);
    expect(await jobs.due(now + 999, 10)).toEqual([]);
    now += 1_000;
    expect(await jobs.due(now, 10)).toEqual([id]);
    expect(await settle(id)).toBe(1);
    expect(await jobs.due(now + 2_000, 10)).toEqual([id]);
  });

  test("that is paused starts nothing new, also no retry, and goes on when resumed", async () => {
    const id = await submit({
      tasks: { a: { task: mock, replicas: 3 }, b: { task: mock, dependsOn: ["a"] } },
    });
    await settle(id);
    const running = await idOf(id, "a-0");
    await move(running, "assigned");
    await move(running, "running");
    await jobs.pause(id, true, now);
    await settle(id, 2);
    expect(await waiting()).toEqual([]);
    expect(await get(id)).toMatchObject({ paused: true, counts: { running: 1, pending: 3 } });
    await move(running, "pending", now + 700);
    await settle(id);
    expect(await tasks.nextDueMs()).toBeUndefined();
    await jobs.pause(id, false, now);
    expect(await settle(id)).toBe(3);
    expect(await waiting()).toHaveLength(2);
    expect(await tasks.nextDueMs()).toBe(now + 700);
    for (const name of ["a-1", "a-2"]) await run(await idOf(id, name), "succeeded");
    await tasks.promote(now + 700, 10);
    await run(running, "succeeded");
    await settle(id);
    await run(await idOf(id, "b"), "succeeded");
    expect(await get(id)).toMatchObject({ state: "succeeded", paused: false });
  });

  test("is removed with its tasks when its retention has passed", async () => {
    const id = await submit({ ...diamond, retentionMs: 100 });
    await jobs.cancel(id, now);
    await settle(id);
    const taskIds = await jobs.taskIds(id, 0, 10);
    expect(await jobs.due(now + 99, 10)).toEqual([]);
    now += 100;
    await settle(id, 2);
    expect(await jobs.get(id)).toBeUndefined();
    expect(await tasks.getMany(taskIds)).toEqual([]);
    const left = await redis.keys(`${keys.tag}*${id}*`);
    expect([...left, ...(await jobs.due(now + 1e9, 10))]).toEqual([]);
    expect(await tasks.countIn("cancelled")).toBe(0);
  });
});

test("10,000 tasks: under 1 KB each beyond their specs, thousands cancelled at once", async () => {
  const spec: JobSpec = {
    tasks: { a: { task: mock, replicas: 9_999 }, b: { task: mock, dependsOn: ["a"] } },
  };
  const memory = async () => Number(/used_memory:(\d+)/.exec(await redis.info("memory"))?.[1]);
  await redis.flushdb();
  await fresh();
  const before = await memory();
  const id = await submit(spec);
  for (let step = 0; step < 10; step++) await jobs.advance(id, now, 1_000);
  expect((await get(id)).counts).toEqual({ pending: 10_000 });
  const events = (await redis.memory("USAGE", keys.events)) ?? 0;
  const sample = JSON.stringify(
    (await tasks.get((await jobs.taskIds(id, 5_000, 1))[0] as TaskId))?.task.spec,
  );
  expect(((await memory()) - before - events) / 10_000 - sample.length).toBeLessThan(1_024);
  expect(await settle(id)).toBe(9_999);
  const startedMs = performance.now();
  await jobs.cancel(id, now);
  await settle(id);
  expect(performance.now() - startedMs).toBeLessThan(5_000);
  expect(await get(id)).toMatchObject({ state: "cancelled", counts: { cancelled: 10_000 } });
});

/** A job of up to seven groups, in which each depends on some of those before it. */
const anyJob: fc.Arbitrary<JobSpec> = fc
  .record({
    groups: fc.array(fc.record({ replicas: fc.integer({ min: 1, max: 4 }), on: fc.nat() }), {
      minLength: 1,
      maxLength: 7,
    }),
    onFailure: fc.constantFrom("stop" as const, "continue" as const),
    parallelism: fc.integer({ min: 0, max: 4 }),
  })
  .map(({ groups, onFailure, parallelism }) => ({
    onFailure,
    parallelism,
    tasks: Object.fromEntries(
      groups.map(({ replicas, on }, index) => [
        `g${index}`,
        {
          task: mock,
          replicas,
          dependsOn: groups.flatMap((_, before) =>
            before < index && ((on >> before) & 1) === 1 ? [`g${before}`] : [],
          ),
        },
      ]),
    ),
  }));

type Move = {
  kind:
    | "advance"
    | "end"
    | "retry"
    | "fail"
    | "place"
    | "start"
    | "cancel"
    | "pause"
    | "resume"
    | "stop";
  pick: number;
};
const anyMove: fc.Arbitrary<Move> = fc.record({
  kind: fc.oneof(
    {
      weight: 20,
      arbitrary: fc.constantFrom(
        "advance" as const,
        "place" as const,
        "start" as const,
        "end" as const,
      ),
    },
    { weight: 3, arbitrary: fc.constantFrom("retry" as const, "fail" as const) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "cancel" as const,
        "pause" as const,
        "resume" as const,
        "stop" as const,
      ),
    },
  ),
  pick: fc.nat(1_000),
});

async function act(id: JobId, { kind, pick }: Move): Promise<void> {
  const all = await jobs.taskIds(id, 0, 100);
  const records = await tasks.getMany(all);
  const one = (of: readonly TaskId[]): TaskId | undefined => of[pick % Math.max(1, of.length)];
  const inState = (state: TaskState) =>
    one(records.filter(({ task }) => task.state === state).map(({ task }) => task.id as TaskId));
  now += 1;
  const change = async (task: TaskId | undefined, to: TaskState) => {
    if (task !== undefined) await move(task, to);
  };
  switch (kind) {
    case "advance":
      await jobs.advance(id, now, 1 + (pick % 5));
      break;
    case "place":
      return change(one(await waiting()), "assigned");
    case "start":
      return change(inState("assigned"), "running");
    case "end":
      return change(inState("running"), "succeeded");
    case "fail":
      return change(inState("running"), pick % 2 === 0 ? "failed" : "timed_out");
    case "retry":
      return change(inState(pick % 2 === 0 ? "running" : "assigned"), "pending");
    case "cancel": {
      const task = one(all);
      if (task !== undefined) await tasks.cancel(task, now);
      break;
    }
    case "stop":
      await jobs.cancel(id, now);
      break;
    case "pause":
    case "resume":
      await jobs.pause(id, kind === "pause", now);
  }
}

/** What must hold at any time. */
async function checkJob(id: JobId, spec: JobSpec): Promise<Job> {
  const job = await get(id);
  const records = await tasks.getMany(await jobs.taskIds(id, 0, 100));
  const counted: Record<string, number> = {};
  for (const { task } of records) counted[task.state] = (counted[task.state] ?? 0) + 1;
  expect(job.counts).toEqual(counted);
  expect(isEnded(job.state)).toBe(
    records.length === job.total && records.every(({ task }) => isTerminal(task.state)),
  );
  const byGroup = (name: string) =>
    records.filter(({ task }) => task.spec.env?.["SPEAR_TASK_NAME"] === name);
  const released = new Set(await waiting());
  for (const [name, { dependsOn = [] }] of Object.entries(spec.tasks)) {
    const begun = byGroup(name).some(
      ({ task }) =>
        released.has(task.id as TaskId) || (task.attempt > 0 && task.state !== "cancelled"),
    );
    if (!begun) continue;
    for (const on of dependsOn) {
      expect(byGroup(on).every(({ task }) => task.state === "succeeded")).toBe(true);
    }
  }
  const active = records.filter(
    ({ task }) =>
      task.state === "assigned" || task.state === "running" || released.has(task.id as TaskId),
  );
  if (spec.parallelism) expect(active.length).toBeLessThanOrEqual(spec.parallelism);
  return job;
}

test("any job under any sequence of events keeps its promises and ends", async () => {
  await fc.assert(
    fc.asyncProperty(anyJob, fc.array(anyMove, { maxLength: 60 }), async (spec, moves) => {
      await fresh();
      const id = await submit(spec);
      for (const one of moves) {
        await act(id, one);
        await checkJob(id, spec);
      }
      await jobs.pause(id, false, now);
      for (let turn = 0; !isEnded((await get(id)).state); turn++) {
        expect(turn).toBeLessThan(500);
        for (const due of await jobs.due(now, 10)) await jobs.advance(due, now, 3);
        const before = await tasks.getMany(await jobs.taskIds(id, 0, 100));
        for (const task of await waiting()) await move(task, "assigned");
        for (const { task } of before) {
          if (task.state === "assigned") await move(task.id as TaskId, "running");
          if (task.state === "running") {
            await move(task.id as TaskId, task.cancelRequested ? "cancelled" : "succeeded");
          }
        }
        now += 1;
      }
      const job = await checkJob(id, spec);
      // Replayed, the events give exactly the records (T5).
      const replayed = new Map<string, string>();
      for (const [seq, fields] of (await redis.xrange(keys.events, "-", "+")) as [
        string,
        string[],
      ][]) {
        const event = decodeEvent(Number.parseInt(seq, 10), fields[1] ?? "");
        if (event.kind === "task.state") replayed.set(event.taskId ?? "", event.to);
        if (event.kind === "job.state") replayed.set(event.jobId ?? "", event.to);
      }
      expect(replayed.get(id)).toBe(job.state);
      for (const { task } of await tasks.getMany(await jobs.taskIds(id, 0, 100))) {
        expect(replayed.get(task.id)).toBe(task.state);
      }
      expect(await redis.smembers(keys.nodeTasks(node))).toEqual([]);
    }),
    { numRuns: 60 },
  );
});
