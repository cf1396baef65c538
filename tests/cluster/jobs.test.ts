/** Jobs on a real cluster: SMS, SPEARlets with the mock agent, Redis. */
import { ChannelCredentials } from "@grpc/grpc-js";
import { JobServiceClient, JobState, SubmitJobRequest } from "@spear/proto/gen/spear/sms/v1/job.ts";
import { messages, unary } from "@spear/shared/grpc/client.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { checkJobSpec, type Job } from "@spear/shared/job.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { checkTaskSpec, type Event, type Task } from "@spear/shared/task.ts";
import { planJob } from "@spear/sms/jobs/plan.ts";
import { JobRecords } from "@spear/sms/jobs/redis.ts";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Redis } from "ioredis";
import { Cluster, Program, until } from "../programs.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({
    nodes: 2,
    sms: { reconcileMs: 200 },
    spearlet: { runtimes: "mock", slots: 100, cpu: 100, memoryBytes: 2 ** 36 },
  });
});
afterAll(() => cluster[Symbol.asyncDispose]());

const submit = (file: unknown, more: object = {}) =>
  cluster.api<Job>("POST", "/v1/jobs", { file, ...more });
const get = (id: string) => cluster.api<Job>("GET", `/v1/jobs/${id}`);
const tasksOf = async (id: string, query = "") =>
  (await cluster.api<{ tasks: Task[] }>("GET", `/v1/jobs/${id}/tasks?pageSize=1000${query}`)).tasks;
const ended = (id: string) =>
  until(`job ${id} to end`, async () => {
    const job = await get(id);
    return job.finishedAtMs === undefined ? undefined : job;
  });
const quick = { mock: {}, resources: { cpu: 0.01, memory: "1Mi" } };
const endless = { ...quick, mock: { hang: true } };

describe("a job", () => {
  test("runs its tasks in the order of their dependencies, each knowing who it is", async () => {
    const { id } = await submit({
      name: "diamond",
      labels: { team: "search" },
      tasks: {
        a: { ...quick, mock: { sleep: "20ms" } },
        b: { ...quick, replicas: 10, dependsOn: ["a"] },
        c: { ...quick, dependsOn: ["a"] },
        d: { ...quick, dependsOn: ["b", "c"] },
      },
    });
    const job = await ended(id);
    expect(job).toMatchObject({
      name: "diamond",
      state: "succeeded",
      counts: { succeeded: 13 },
      total: 13,
      labels: { team: "search" },
    });
    const tasks = await tasksOf(id);
    const named = (name: string) => tasks.filter((task) => task.name.split("-")[0] === name);
    const [first] = named("a");
    for (const task of [...named("b"), ...named("c")]) {
      expect(task.startedAtMs).toBeGreaterThanOrEqual(first?.finishedAtMs ?? Number.NaN);
    }
    expect(named("d")[0]?.startedAtMs).toBeGreaterThanOrEqual(
      Math.max(...[...named("b"), ...named("c")].map((task) => task.finishedAtMs ?? 0)),
    );
    expect(tasks.find((task) => task.name === "b-7")?.spec.env).toEqual({
      SPEAR_JOB_ID: id,
      SPEAR_TASK_NAME: "b",
      SPEAR_TASK_INDEX: "7",
    });
    expect(tasks[0]?.spec.labels).toEqual({ team: "search" });
  });

  test("retries a task before it counts as failed, and then ends the rest", async () => {
    const fine = await submit({
      tasks: { a: { ...quick, mock: { failAttempts: 2 }, retries: { max: 2, delay: "10ms" } } },
    });
    expect((await ended(fine.id)).state).toBe("succeeded");
    const { id } = await submit({
      tasks: {
        bad: { ...quick, mock: { exitCode: 3, sleep: "50ms" } },
        hangs: { ...endless, replicas: 5 },
        after: { ...quick, dependsOn: ["hangs"] },
      },
    });
    const job = await ended(id);
    expect(job).toMatchObject({
      state: "failed",
      counts: { failed: 1, cancelled: 6 },
      failure: { code: "task_failed" },
    });
    expect(await tasksOf(id, "&state=failed")).toMatchObject([{ name: "bad", exitCode: 3 }]);
    const again = await cluster.api<Job>("POST", `/v1/jobs/${id}/rerun`, { failedOnly: true });
    expect(again).toMatchObject({ total: 7, rerunOf: id });
    await ended(again.id);
  });

  test("reruns only what failed", async () => {
    const { id } = await submit({
      onFailure: "continue",
      tasks: {
        good: { ...quick, replicas: 4 },
        bad: { ...quick, mock: { exitCode: 1 }, dependsOn: ["good"] },
        last: { ...quick, dependsOn: ["good", "bad"] },
      },
    });
    expect(await ended(id)).toMatchObject({
      state: "failed",
      counts: { succeeded: 4, failed: 1, cancelled: 1 },
    });
    const part = await cluster.api<Job>("POST", `/v1/jobs/${id}/rerun`, { failedOnly: true });
    expect((await ended(part.id)).counts).toEqual({ failed: 1, cancelled: 1 });
    const whole = await cluster.api<Job>("POST", `/v1/jobs/${id}/rerun`);
    expect((await ended(whole.id)).total).toBe(6);
  });

  test("is one for one idempotency key, submitted many times at once", async () => {
    const idempotencyKey = crypto.randomUUID();
    const jobs = await Promise.all(
      Array.from({ length: 10 }, () => submit({ tasks: { a: quick } }, { idempotencyKey })),
    );
    expect(new Set(jobs.map(({ id }) => id)).size).toBe(1);
  });

  test("is refused whole where one task is wrong, with the path in the file", async () => {
    const before = await cluster.api<{ jobs: Job[] }>("GET", "/v1/jobs?pageSize=1");
    const wrong: [unknown, string][] = [
      [{ tasks: { a: { ...quick, timeout: "soon" } } }, "tasks.a.timeout"],
      [{ tasks: { a: { ...quick, constraints: ["label.zone ~ eu"] } } }, "tasks.a.constraints.0"],
      [{ tasks: { a: quick, b: { ...quick, dependsOn: ["c"] } } }, "tasks.b.dependsOn.0"],
      [
        {
          tasks: {
            a: { ...quick, inputs: [{ object: "${tasks.b.outputs.x}", path: "x" }] },
            b: quick,
          },
        },
        "tasks.a.inputs.0.object",
      ],
    ];
    for (const [file, field] of wrong) {
      expect(await submit(file).catch(String)).toContain(`"field":"${field}"`);
    }
    const unknown = submit({ tasks: { a: quick } }, { params: { x: "1" } });
    expect(await unknown.catch(String)).toContain("params.x");
    const after = await cluster.api<{ jobs: Job[] }>("GET", "/v1/jobs?pageSize=1");
    expect(after.jobs[0]?.id).toBe(before.jobs[0]?.id as string);
  });

  test("of thousands of tasks is cancelled promptly, running ones too", async () => {
    const { id } = await submit({ tasks: { a: { ...endless, replicas: 2_000 } } });
    await until(
      "a hundred tasks to run",
      async () => ((await get(id)).counts["running"] ?? 0) > 100,
    );
    const startedMs = performance.now();
    await cluster.api("POST", `/v1/jobs/${id}/cancel`);
    const job = await ended(id);
    expect(performance.now() - startedMs).toBeLessThan(15_000);
    expect(job).toMatchObject({
      state: "cancelled",
      cancelRequested: true,
      counts: { cancelled: 2_000 },
    });
  });

  test("that is paused goes on when it is resumed", async () => {
    const { id } = await submit({
      parallelism: 1,
      tasks: { a: { ...quick, mock: { sleep: "50ms" }, replicas: 5 } },
    });
    await cluster.api("POST", `/v1/jobs/${id}/pause`);
    const held = await until("nothing to run", async () => {
      const job = await get(id);
      return job.counts["running"] === undefined && job.counts["assigned"] === undefined && job;
    });
    expect(held).toMatchObject({ paused: true });
    expect(held.counts["pending"]).toBeGreaterThan(0);
    await cluster.api("POST", `/v1/jobs/${id}/resume`);
    expect((await ended(id)).counts).toEqual({ succeeded: 5 });
    expect(await cluster.api("POST", `/v1/jobs/${id}/pause`).catch(String)).toContain("409");
  });
});

test("a system task runs on every node that suits, and again where it failed", async () => {
  const { id } = await submit({
    onFailure: "continue",
    tasks: {
      each: { ...quick, system: true },
      bad: { ...quick, mock: { exitCode: 1 }, system: true },
    },
  });
  expect(await ended(id)).toMatchObject({ counts: { succeeded: 2, failed: 2 }, total: 4 });
  const tasks = await tasksOf(id);
  expect(new Set(tasks.map(({ nodeId }) => nodeId)).size).toBe(2);
  const again = await cluster.api<Job>("POST", `/v1/jobs/${id}/rerun`, { failedOnly: true });
  expect((await ended(again.id)).counts).toEqual({ failed: 2 });
});

describe("dead letters", () => {
  const letters = async () =>
    (await cluster.api<{ tasks: Task[] }>("GET", "/v1/dead-letters?pageSize=1000")).tasks;
  const replay = async (...taskIds: string[]) =>
    (await cluster.api<{ jobs: Job[] }>("POST", "/v1/dead-letters:replay", { taskIds })).jobs;

  test("are what failed for good, of all jobs, with why, until they are replayed", async () => {
    const { id } = await submit({
      onFailure: "continue",
      tasks: {
        good: quick,
        bad: { ...quick, mock: { exitCode: 7 }, replicas: 2 },
        after: { ...quick, dependsOn: ["bad"] },
      },
    });
    await ended(id);
    const single = await cluster.api<Task>("POST", "/v1/tasks", {
      spec: { mock: { exitCode: 9 }, name: "alone" },
    });
    await ended(single.jobId);
    const listed = await letters();
    expect(listed.filter(({ jobId }) => jobId === id)).toMatchObject([
      { name: "bad-1", state: "failed", exitCode: 7 },
      { name: "bad-0", state: "failed", exitCode: 7 },
    ]);
    const one = listed.find(({ name }) => name === "bad-0") as Task;
    const again = await replay(one.id, single.id);
    expect(again).toMatchObject([
      { rerunOf: id, total: 3 },
      { total: 1, name: "alone" },
    ]);
    // The whole failed part of the job was replayed, and what fails again is listed anew.
    await Promise.all(again.map((job) => ended(job.id)));
    const now = await letters();
    expect(now.some(({ jobId }) => jobId === id || jobId === single.jobId)).toBe(false);
    expect(now.filter(({ jobId }) => jobId === again[0]?.id)).toHaveLength(2);
  });

  test("are not what succeeded, and of a job that goes on nothing is replayed", async () => {
    const done = await cluster.api<Task>("POST", "/v1/tasks", { spec: { mock: {} } });
    await ended(done.jobId);
    expect(await replay(done.id).catch(String)).toContain("is succeeded");
    const { id } = await submit({
      onFailure: "continue",
      tasks: { bad: { ...quick, mock: { exitCode: 1 } }, hangs: endless },
    });
    const failed = await until("the failure", async () => (await tasksOf(id, "&state=failed"))[0]);
    expect(await replay(failed.id).catch(String)).toContain("is running");
    await cluster.api("POST", `/v1/jobs/${id}/cancel`);
    await ended(id);
  });
});

test("a single task is removed when its retention has passed, and no sooner", async () => {
  const spec = { mock: { exitCode: 1 } };
  const kept = await cluster.api<Task>("POST", "/v1/tasks", { spec });
  const brief = await cluster.api<Task>("POST", "/v1/tasks", {
    spec: { ...spec, retentionMs: 300 },
  });
  await until("it to be gone", async () => {
    const found = await cluster.api("GET", `/v1/tasks/${brief.id}`).catch(String);
    return String(found).includes("task_not_found");
  });
  const { tasks } = await cluster.api<{ tasks: Task[] }>("GET", "/v1/dead-letters?pageSize=1000");
  expect(tasks.map(({ id }) => id)).toContain(kept.id);
  expect(tasks.map(({ id }) => id)).not.toContain(brief.id);
});

test("a single task is a job of one", async () => {
  const task = await cluster.api<Task>("POST", "/v1/tasks", { spec: { mock: { exitCode: 2 } } });
  expect(await ended(task.jobId)).toMatchObject({
    id: task.jobId,
    state: "failed",
    counts: { failed: 1 },
    total: 1,
  });
  expect(await tasksOf(task.jobId)).toMatchObject([{ id: task.id }]);
  const again = await cluster.api<Job>("POST", `/v1/jobs/${task.jobId}/rerun`);
  expect((await ended(again.id)).state).toBe("failed");
});

test("gRPC submits, watches, lists and cancels a job", async () => {
  const client = new JobServiceClient(cluster.sms.grpc, ChannelCredentials.createInsecure());
  try {
    const request = SubmitJobRequest.fromPartial({
      spec: {
        name: "wire",
        tasks: {
          a: { task: { mock: { sleepMs: 30 } } },
          b: { task: { mock: { print: "${param.word}" } }, replicas: 2, dependsOn: ["a"] },
        },
        params: { word: "hi" },
      },
      params: { word: "ho" },
    });
    const before = await unary(client, client.submitJob, request);
    expect(before.spec?.tasks["b"]?.task?.mock?.print).toBe("ho");
    const seen: string[] = [];
    const stream = client.watchJob({ jobId: before.id, afterSeq: before.seq - 1 });
    for await (const event of messages(stream)) {
      if (event.kind === "job.state") seen.push(event.to);
      if (event.to === "succeeded" && event.kind === "job.state") break;
    }
    expect(seen).toEqual(["pending", "running", "succeeded"]);
    const after = await unary(client, client.getJob, { jobId: before.id });
    expect(after).toMatchObject({ state: JobState.SUCCEEDED, counts: { succeeded: 3 }, total: 3 });
    const { jobs } = await unary(client, client.listJobs, {
      states: [JobState.SUCCEEDED],
      pageSize: 1,
      pageToken: "",
    });
    expect(jobs).toMatchObject([{ id: before.id, name: "wire" }]);
    expect(jobs[0]?.spec).toBeUndefined();
    const { tasks, nextPageToken } = await unary(client, client.listJobTasks, {
      jobId: before.id,
      states: [],
      pageSize: 2,
      pageToken: "",
    });
    expect(tasks.map(({ name }) => name)).toEqual(["a", "b-0"]);
    expect(nextPageToken).toBe("2");
  } finally {
    client.close();
  }
});

test("the events of a job come over a WebSocket", async () => {
  const { id, seq } = await submit({ tasks: { a: quick, b: { ...quick, dependsOn: ["a"] } } });
  const { promise, resolve } = Promise.withResolvers<Event[]>();
  const socket = new WebSocket(`ws://${cluster.sms.http}/v1/jobs/${id}/events?after=${seq - 1}`);
  const events: Event[] = [];
  socket.addEventListener("message", ({ data }) => {
    const event = JSON.parse(String(data)) as Event;
    events.push(event);
    if (event.kind === "job.state" && event.to === "succeeded") resolve(events);
  });
  await promise;
  socket.close();
  expect(events.every((event) => event.jobId === id)).toBe(true);
  expect(
    events.filter((event) => event.kind === "task.state" && event.to === "succeeded"),
  ).toHaveLength(2);
});

test("a submit whose replica died right behind it is carried on by another (T1)", async () => {
  const redis = new Redis(cluster.redis.url);
  try {
    const spec = checkJobSpec({
      tasks: {
        a: { task: { mock: {} }, replicas: 600 },
        b: { task: { mock: {} }, dependsOn: ["a"] },
      },
    });
    const id = systemIds.next("job");
    const plan = planJob(spec, id, { check: checkTaskSpec, nodesFor: () => [] });
    const taskIds = plan.tasks.map(() => systemIds.next("task"));
    const records = new JobRecords(redis, new Keys(), 1_000_000);
    const job = { id, spec, plan, taskIds, idempotencyKey: undefined, rerunOf: undefined };
    await records.submit(job, Date.now());
    expect(await ended(id)).toMatchObject({ state: "succeeded", counts: { succeeded: 601 } });
  } finally {
    redis.disconnect();
  }
});

test("a killed SMS loses no job: another goes on where it was (T1)", async () => {
  const { id } = await submit({
    tasks: Object.fromEntries(
      Array.from({ length: 8 }, (_, index) => [
        `s${index}`,
        {
          ...quick,
          mock: { sleep: "100ms" },
          replicas: 3,
          ...(index === 0 ? {} : { dependsOn: [`s${index - 1}`] }),
        },
      ]),
    ),
  });
  await until("the job to run", async () => ((await get(id)).counts["succeeded"] ?? 0) > 3);
  const { http, grpc } = cluster.sms;
  await cluster.sms.kill("SIGKILL");
  await using heir = await new Program("sms", {
    flags: { httpListen: http, grpcListen: grpc, redisUrl: cluster.redis.url, reconcileMs: 200 },
  }).start();
  expect(heir.http).toBe(http);
  expect(await ended(id)).toMatchObject({ state: "succeeded", counts: { succeeded: 24 } });
});
