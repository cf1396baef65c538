/** Job records against a real Redis: what is released, ended and removed, and when. */
import { systemIds, type JobId, type TaskId } from "@spear/shared/ids.ts";
import type { JobSpec } from "@spear/shared/job.ts";
import { silentLog } from "@spear/shared/log.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { JobWorld, mock } from "./testing.ts";

const redis = connectRedis(process.env["SPEAR_TEST_REDIS"] ?? "", "commands", silentLog);
afterAll(() => redis.disconnect());

let world: JobWorld;
beforeEach(async () => {
  world = await JobWorld.fresh(redis);
});

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
    const id = await world.submit(diamond);
    expect(await world.waiting()).toEqual([]);
    expect(await world.jobs.due(world.now, 10)).toEqual([id]);
    expect(await world.settle(id)).toBe(1);
    expect(await world.jobs.due(world.now + 1e6, 10)).toEqual([]);
    expect((await world.get(id)).state).toBe("pending");
    await world.run(await world.idOf(id, "a"), "succeeded");
    expect((await world.get(id)).state).toBe("running");
    expect(await world.settle(id)).toBe(3);
    await world.run(await world.idOf(id, "b-0"), "succeeded");
    await world.run(await world.idOf(id, "c"), "succeeded");
    expect(await world.settle(id)).toBe(0);
    await world.run(await world.idOf(id, "b-1"), "succeeded");
    expect(await world.settle(id)).toBe(1);
    expect(await world.get(id)).toMatchObject({
      state: "running",
      counts: { succeeded: 4, pending: 1 },
    });
    await world.run(await world.idOf(id, "d"), "succeeded");
    expect(await world.get(id)).toMatchObject({
      state: "succeeded",
      counts: { succeeded: 5 },
      total: 5,
    });
  });

  test("survive a retry: a task that goes back to pending keeps its place", async () => {
    const id = await world.submit(diamond);
    await world.settle(id);
    const a = await world.idOf(id, "a");
    await world.run(a, "pending");
    expect(await world.waiting()).toEqual([a]);
    expect(await world.settle(id)).toBe(0);
    await world.run(a, "succeeded");
    expect(await world.settle(id)).toBe(3);
  });

  test("keep a task's own delay from its release", async () => {
    const id = await world.submit({
      tasks: {
        a: { task: mock },
        b: { task: { ...mock, delayMs: 500 }, dependsOn: ["a"] },
      },
    });
    await world.settle(id);
    await world.run(await world.idOf(id, "a"), "succeeded");
    world.now = 5_000;
    await world.settle(id);
    expect(await world.waiting()).toEqual([]);
    expect(await world.tasks.nextDueMs()).toBe(5_500);
  });
});

describe("a task that fails for good", () => {
  test("ends the rest of its job: waiting ones at once, running ones by request", async () => {
    const id = await world.submit({
      ...diamond,
      tasks: { ...diamond.tasks, e: { task: mock }, f: { task: mock } },
    });
    await world.settle(id);
    const [a, e, f] = [
      await world.idOf(id, "a"),
      await world.idOf(id, "e"),
      await world.idOf(id, "f"),
    ];
    await world.move(e, "assigned");
    await world.move(f, "assigned");
    await world.move(f, "running");
    await world.run(a, "failed");
    await world.jobs.advance(id, world.now, 500);
    expect(await world.get(id)).toMatchObject({
      state: "running",
      counts: { failed: 1, cancelled: 5, running: 1 },
      failure: { code: "task_failed", message: `a (${a}) ended as failed` },
    });
    await world.move(f, "pending");
    expect(await world.statesOf(id)).toMatchObject({ f: "cancelled" });
    expect((await world.get(id)).state).toBe("failed");
  });

  test("with continue ends only those that depend on it, however far", async () => {
    const id = await world.submit({
      ...diamond,
      onFailure: "continue",
      tasks: { ...diamond.tasks, e: { task: mock, dependsOn: ["c"] }, f: { task: mock } },
    });
    await world.settle(id);
    await world.run(await world.idOf(id, "a"), "succeeded");
    await world.settle(id);
    await world.run(await world.idOf(id, "b-1"), "timed_out");
    await world.settle(id);
    expect(await world.statesOf(id)).toEqual({
      a: "succeeded", "b-0": "pending", "b-1": "timed_out", c: "pending", d: "cancelled", e: "pending", f: "pending",
    }); // prettier-ignore
    for (const name of ["b-0", "c", "f"]) await world.run(await world.idOf(id, name), "succeeded");
    await world.settle(id);
    await world.run(await world.idOf(id, "e"), "succeeded");
    expect(await world.get(id)).toMatchObject({
      state: "failed",
      counts: { succeeded: 5, timed_out: 1, cancelled: 1 },
    });
    const reasons = await world.tasks.history(await world.idOf(id, "d"));
    expect(reasons?.at(-1)).toMatchObject({ to: "cancelled", reason: "dependency_failed" });
  });
});

describe("parallelism", () => {
  test("lets only so many tasks go at once", async () => {
    const id = await world.submit({ parallelism: 3, tasks: { a: { task: mock, replicas: 10 } } });
    let done = 0;
    for (;;) {
      await world.settle(id);
      const ready = await world.waiting();
      if (ready.length === 0) break;
      expect(ready.length).toBe(Math.min(3, 10 - done));
      await world.run(ready[0] as TaskId, "succeeded");
      done += 1;
    }
    expect((await world.get(id)).state).toBe("succeeded");
  });

  test("is not used up by a task that was cancelled before it was released", async () => {
    const id = await world.submit({
      parallelism: 1,
      onFailure: "continue",
      tasks: { a: { task: mock, replicas: 3 } },
    });
    await world.settle(id);
    await world.tasks.cancel(await world.idOf(id, "a-1"), world.now);
    await world.run(await world.idOf(id, "a-0"), "succeeded");
    await world.settle(id);
    expect(await world.waiting()).toEqual([await world.idOf(id, "a-2")]);
  });
});

describe("a job", () => {
  test("is one job for one idempotency key, also at the same time", async () => {
    const ids = await Promise.all(Array.from({ length: 20 }, () => world.submit(diamond, "k")));
    expect(new Set(ids).size).toBe(1);
    await world.settle(ids[0] as JobId);
    expect(await world.tasks.countIn("pending")).toBe(5);
  });

  test("that is cancelled ends its tasks, and is cancelled with the last", async () => {
    const id = await world.submit(diamond);
    await world.settle(id);
    const a = await world.idOf(id, "a");
    await world.move(a, "assigned");
    await world.move(a, "running");
    expect(await world.jobs.cancel(id, world.now)).toBe("ok");
    await world.settle(id);
    expect(await world.get(id)).toMatchObject({
      state: "running",
      cancelRequested: true,
      counts: { running: 1, cancelled: 4 },
    });
    await world.move(a, "cancelled");
    expect((await world.get(id)).state).toBe("cancelled");
    expect(await world.jobs.cancel(id, world.now)).toBe("ended");
    expect(await world.jobs.cancel(systemIds.next("job"), world.now)).toBe("missing");
  });

  test("whose tasks all succeed although it was cancelled has succeeded", async () => {
    const id = await world.submit({ tasks: { a: { task: mock } } });
    await world.settle(id);
    const a = await world.idOf(id, "a");
    await world.move(a, "assigned");
    await world.move(a, "running");
    await world.jobs.cancel(id, world.now);
    await world.settle(id);
    await world.move(a, "succeeded");
    expect((await world.get(id)).state).toBe("succeeded");
  });

  test("ends at its deadline", async () => {
    const id = await world.submit({ ...diamond, deadlineMs: 5_000 });
    await world.settle(id);
    expect(await world.jobs.due(world.now + 4_999, 10)).toEqual([]);
    expect(await world.jobs.due(world.now + 5_000, 10)).toEqual([id]);
    world.now += 5_000;
    await world.settle(id);
    expect(await world.get(id)).toMatchObject({
      state: "failed",
      counts: { cancelled: 5 },
      failure: { code: "deadline" },
    });
  });

  test("with a delay starts then, and its deadline counts from the submit", async () => {
    const id = await world.submit({ ...diamond, delayMs: 1_000, deadlineMs: 3_000 });
    expect(await world.settle(id)).toBe(0);
    expect(await world.jobs.due(world.now + 999, 10)).toEqual([]);
    world.now += 1_000;
    expect(await world.jobs.due(world.now, 10)).toEqual([id]);
    expect(await world.settle(id)).toBe(1);
    expect(await world.jobs.due(world.now + 2_000, 10)).toEqual([id]);
  });

  test("that is paused starts nothing new, also no retry, and goes on when resumed", async () => {
    const id = await world.submit({
      tasks: { a: { task: mock, replicas: 3 }, b: { task: mock, dependsOn: ["a"] } },
    });
    await world.settle(id);
    const running = await world.idOf(id, "a-0");
    await world.move(running, "assigned");
    await world.move(running, "running");
    await world.jobs.pause(id, true, world.now);
    await world.settle(id, 2);
    expect(await world.waiting()).toEqual([]);
    expect(await world.get(id)).toMatchObject({ paused: true, counts: { running: 1, pending: 3 } });
    await world.move(running, "pending", world.now + 700);
    await world.settle(id);
    expect(await world.tasks.nextDueMs()).toBeUndefined();
    await world.jobs.pause(id, false, world.now);
    expect(await world.settle(id)).toBe(3);
    expect(await world.waiting()).toHaveLength(2);
    expect(await world.tasks.nextDueMs()).toBe(world.now + 700);
    for (const name of ["a-1", "a-2"]) await world.run(await world.idOf(id, name), "succeeded");
    await world.tasks.promote(world.now + 700, 10);
    await world.run(running, "succeeded");
    await world.settle(id);
    await world.run(await world.idOf(id, "b"), "succeeded");
    expect(await world.get(id)).toMatchObject({ state: "succeeded", paused: false });
  });

  test("is removed with its tasks when its retention has passed", async () => {
    const id = await world.submit({ ...diamond, retentionMs: 100 });
    await world.jobs.cancel(id, world.now);
    await world.settle(id);
    const taskIds = await world.jobs.taskIds(id, 0, 10);
    expect(await world.jobs.due(world.now + 99, 10)).toEqual([]);
    world.now += 100;
    await world.settle(id, 2);
    expect(await world.jobs.get(id)).toBeUndefined();
    expect(await world.tasks.getMany(taskIds)).toEqual([]);
    const left = await redis.keys(`${world.keys.tag}*${id}*`);
    expect([...left, ...(await world.jobs.due(world.now + 1e9, 10))]).toEqual([]);
    expect(await world.tasks.countIn("cancelled")).toBe(0);
  });
});

test("thousands of tasks take under 1 KB each beyond their specs, and are cancelled promptly", async () => {
  const { keys, jobs } = world;
  const id = await world.submit({
    tasks: { a: { task: mock, replicas: 2_999 }, b: { task: mock, dependsOn: ["a"] } },
  });
  expect(await world.settle(id)).toBe(2_999);
  expect((await world.get(id)).counts).toEqual({ pending: 3_000 });
  const used = async (key: string) => (await redis.memory("USAGE", key, "SAMPLES", 0)) ?? 0;
  const [sample = "" as TaskId] = await jobs.taskIds(id, 1_500, 1);
  const [waitingClass = ""] = await redis.zrange(keys.pendingClasses, 0, "-1");
  const shared = [
    keys.tasks,
    keys.tasksIn("pending"),
    keys.jobTasks(id),
    keys.job(id),
    keys.pendingClass(waitingClass),
  ];
  let bytes = await used(keys.task(sample));
  for (const key of shared) bytes += (await used(key)) / 3_000;
  const spec = (await world.tasks.get(sample))?.task.spec;
  expect(bytes - JSON.stringify(spec).length).toBeLessThan(1_024);
  const startedMs = performance.now();
  await jobs.cancel(id, world.now);
  await world.settle(id);
  expect(performance.now() - startedMs).toBeLessThan(10_000);
  expect(await world.get(id)).toMatchObject({
    state: "cancelled",
    counts: { cancelled: 3_000 },
  });
});
