/** Schedules on a real cluster: each time becomes one job, whatever the job before does. */
import type { Job } from "@spear/shared/job.ts";
import type { Schedule } from "@spear/shared/schedule.ts";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Redis } from "ioredis";
import { Cluster, Program, until } from "../programs.ts";

let cluster: Cluster;
let second: Program;
beforeAll(async () => {
  cluster = await Cluster.start({
    nodes: 1,
    spearlet: { runtimes: "mock", slots: 50, cpu: 50, memoryBytes: 2 ** 36 },
  });
  // A second replica: both look at every tick that comes.
  second = await new Program("sms", {
    flags: { httpListen: "127.0.0.1:0", grpcListen: "127.0.0.1:0", redisUrl: cluster.redis.url },
  }).start();
});
afterAll(async () => {
  await second[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
});

const everySecond = { cron: "* * * * * *" };
const job = (mock: object) => ({ tasks: { a: { task: { mock, resources: { cpu: 0.01 } } } } });
const put = (name: string, spec: object) =>
  cluster.api<Schedule>("PUT", `/v1/schedules/${name}`, { spec });
const get = (name: string) => cluster.api<Schedule>("GET", `/v1/schedules/${name}`);
const remove = (name: string) => cluster.api("DELETE", `/v1/schedules/${name}`);
const jobsOf = async (name: string) =>
  (
    await cluster.api<{ jobs: Job[] }>(
      "GET",
      `/v1/jobs?pageSize=1000&label=${encodeURIComponent(`spear/schedule=${name}`)}`,
    )
  ).jobs;

test("each time becomes one job, with two replicas, and each runs", async () => {
  const startedMs = Date.now();
  const made = await put("tick", { ...everySecond, job: job({}) });
  expect(made.nextAtMs).toBeGreaterThan(startedMs);
  await until("three jobs to succeed", async () => {
    const jobs = await jobsOf("tick");
    return jobs.filter((one) => one.state === "succeeded").length >= 3;
  });
  await cluster.api("POST", "/v1/schedules/tick/pause");
  const paused = await get("tick");
  expect(paused).toMatchObject({ paused: true });
  expect(paused.nextAtMs).toBeUndefined();
  const jobs = await until("every job to be counted", async () => {
    const [all, { submitted }] = [await jobsOf("tick"), await get("tick")];
    return all.length === submitted && all;
  });
  expect(jobs.length).toBeLessThanOrEqual(1 + Math.ceil((Date.now() - startedMs) / 1_000));
  await remove("tick");
  expect((await cluster.api<{ schedules: Schedule[] }>("GET", "/v1/schedules")).schedules).toEqual(
    [],
  );
  expect(await get("tick").catch(String)).toContain("schedule_not_found");
});

test("skip passes over the times at which the job before still runs", async () => {
  await put("skip", { ...everySecond, job: job({ hang: true }) });
  const skipped = await until("two times to be skipped", async () => {
    const schedule = await get("skip");
    return schedule.skipped >= 2 && schedule;
  });
  expect(skipped.submitted).toBe(1);
  expect(await jobsOf("skip")).toHaveLength(1);
  await remove("skip");
  await cluster.api("POST", `/v1/jobs/${skipped.lastJobId}/cancel`);
});

test("replace ends the job before", async () => {
  await put("replace", { ...everySecond, overlap: "replace", job: job({ hang: true }) });
  await until("three jobs", async () => (await get("replace")).submitted >= 3);
  await cluster.api("POST", "/v1/schedules/replace/pause");
  const last = await until("all but the last to be cancelled", async () => {
    const { lastJobId, queued } = await get("replace");
    if (queued > 0) return false;
    const jobs = await jobsOf("replace");
    const others = jobs.filter(({ id }) => id !== lastJobId);
    return others.length >= 2 && others.every(({ state }) => state === "cancelled") && lastJobId;
  });
  expect((await cluster.api<Job>("GET", `/v1/jobs/${last}`)).state).not.toBe("cancelled");
  await remove("replace");
  await cluster.api("POST", `/v1/jobs/${last}/cancel`);
});

test("queue keeps the times and submits them one after the other", async () => {
  await put("queue", { ...everySecond, overlap: "queue", job: job({ sleepMs: 1_500 }) });
  await until("a time to wait", async () => (await get("queue")).queued >= 1);
  await until("three jobs", async () => (await get("queue")).submitted >= 3);
  await remove("queue");
  const jobs = await until("the jobs to end", async () => {
    const all = await jobsOf("queue");
    return all.every(({ state }) => state === "succeeded") && all;
  });
  const spans = jobs
    .toReversed()
    .map((one) => [one.startedAtMs ?? 0, one.finishedAtMs ?? 0] as const);
  for (const [index, [started]] of spans.entries()) {
    if (index > 0) expect(started).toBeGreaterThanOrEqual(spans[index - 1]?.[1] ?? 0);
  }
});

test("times that were missed while no SMS ran are made up for, so many as it says", async () => {
  const redis = new Redis(cluster.redis.url);
  try {
    // Far from now: no time of today is on time.
    const hour = (new Date().getUTCHours() + 12) % 24;
    await put("late", { cron: `0 ${hour} * * *`, catchUp: 2, overlap: "queue", job: job({}) });
    // As if nobody had looked for a week, and the timer had been lost too.
    await redis.hset("{spear}:schedule:late", "lastAt", Date.now() - 7 * 86_400_000);
    await second.kill("SIGKILL");
    await second.start();
    const late = await until("two jobs", async () => {
      const schedule = await get("late");
      return schedule.submitted >= 2 && schedule;
    });
    expect(late).toMatchObject({ submitted: 2, skipped: 5 });
    expect(await jobsOf("late")).toHaveLength(2);
  } finally {
    redis.disconnect();
    await remove("late");
  }
});

test("a time whose job is refused is passed over", async () => {
  const system = { tasks: { a: { system: true, task: { mock: {} } } } };
  await put("nodes", { ...everySecond, job: system });
  const node = (await cluster.api<{ nodes: { id: string }[] }>("GET", "/v1/nodes")).nodes[0]?.id;
  await cluster.api("POST", `/v1/nodes/${node}/drain`);
  try {
    await until("a time to be passed over", async () => (await get("nodes")).skipped >= 1);
  } finally {
    await cluster.api("POST", `/v1/nodes/${node}/drain`, { undo: true });
  }
  const { submitted } = await get("nodes");
  await until("jobs to come again", async () => (await get("nodes")).submitted > submitted);
  await remove("nodes");
});

test("what means nothing is refused", async () => {
  const wrong: [string, object, string][] = [
    ["x", { cron: "soon", job: job({}) }, '"field":"spec.cron"'],
    ["x", { ...everySecond, timeZone: "Mars", job: job({}) }, '"field":"spec.timeZone"'],
    ["x", { ...everySecond, overlap: "all", job: job({}) }, '"field":"spec.overlap"'],
    ["x", { ...everySecond, job: { tasks: { a: { task: {} } } } }, '"field":"spec.tasks.a.task"'],
    ["x.y", { ...everySecond, job: job({}) }, '"field":"name"'],
  ];
  for (const [name, spec, said] of wrong) {
    expect(await put(name, spec).catch(String)).toContain(said);
  }
});
