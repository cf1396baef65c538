/** Any job under any sequence of events keeps its promises, against a real Redis. */
import type { JobId, TaskId } from "@spear/shared/ids.ts";
import { isEnded, type Job, type JobSpec } from "@spear/shared/job.ts";
import { silentLog } from "@spear/shared/log.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { isTerminal, type TaskState } from "@spear/shared/state.ts";
import { afterAll, expect, test } from "bun:test";
import * as fc from "fast-check";
import { eventsOf, type StreamEntry } from "../tasks/record.ts";
import { JobWorld, mock } from "./testing.ts";

const redis = connectRedis(process.env["SPEAR_TEST_REDIS"] ?? "", "commands", silentLog);
afterAll(() => redis.disconnect());

let world: JobWorld;

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
  const all = await world.jobs.taskIds(id, 0, 100);
  const records = await world.tasks.getMany(all);
  const one = (of: readonly TaskId[]): TaskId | undefined => of[pick % Math.max(1, of.length)];
  const inState = (state: TaskState) =>
    one(records.filter(({ task }) => task.state === state).map(({ task }) => task.id as TaskId));
  world.now += 1;
  const change = async (task: TaskId | undefined, to: TaskState) => {
    if (task !== undefined) await world.move(task, to);
  };
  switch (kind) {
    case "advance":
      await world.jobs.advance(id, world.now, 1 + (pick % 5));
      break;
    case "place":
      return change(one(await world.waiting()), "assigned");
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
      if (task !== undefined) await world.tasks.cancel(task, world.now);
      break;
    }
    case "stop":
      await world.jobs.cancel(id, world.now);
      break;
    case "pause":
    case "resume":
      await world.jobs.pause(id, kind === "pause", world.now);
  }
}

/** What must hold at any time. */
async function checkJob(id: JobId, spec: JobSpec): Promise<Job> {
  const job = await world.get(id);
  const records = await world.tasks.getMany(await world.jobs.taskIds(id, 0, 100));
  const counted: Record<string, number> = {};
  for (const { task } of records) counted[task.state] = (counted[task.state] ?? 0) + 1;
  expect(job.counts).toEqual(counted);
  expect(isEnded(job.state)).toBe(
    records.length === job.total && records.every(({ task }) => isTerminal(task.state)),
  );
  const byGroup = (name: string) =>
    records.filter(({ task }) => task.spec.env?.["SPEAR_TASK_NAME"] === name);
  const released = new Set(await world.waiting());
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
      world = await JobWorld.fresh(redis);
      const id = await world.submit(spec);
      for (const one of moves) {
        await act(id, one);
        await checkJob(id, spec);
      }
      await world.jobs.pause(id, false, world.now);
      for (let turn = 0; !isEnded((await world.get(id)).state); turn++) {
        expect(turn).toBeLessThan(500);
        for (const due of await world.jobs.due(world.now, 10))
          await world.jobs.advance(due, world.now, 3);
        const before = await world.tasks.getMany(await world.jobs.taskIds(id, 0, 100));
        for (const task of await world.waiting()) await world.move(task, "assigned");
        for (const { task } of before) {
          if (task.state === "assigned") await world.move(task.id as TaskId, "running");
          if (task.state === "running") {
            await world.move(task.id as TaskId, task.cancelRequested ? "cancelled" : "succeeded");
          }
        }
        world.now += 1;
      }
      const job = await checkJob(id, spec);
      // Replayed, the events give exactly the records (T5).
      const replayed = new Map<string, string>();
      const entries = (await redis.xrange(world.keys.events, "-", "+")) as StreamEntry[];
      for (const event of entries.flatMap(eventsOf)) {
        if (event.kind === "task.state") replayed.set(event.taskId ?? "", event.to);
        if (event.kind === "job.state") replayed.set(event.jobId ?? "", event.to);
      }
      expect(replayed.get(id)).toBe(job.state);
      for (const { task } of await world.tasks.getMany(await world.jobs.taskIds(id, 0, 100))) {
        expect(replayed.get(task.id)).toBe(task.state);
      }
      expect(await redis.smembers(world.keys.nodeTasks(world.node))).toEqual([]);
      for (const { state, count } of await world.tasks.counts()) {
        expect(count).toBe(await world.tasks.countIn(state as TaskState));
      }
    }),
    { numRuns: 60 },
  );
});
