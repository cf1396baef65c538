/**
 * A node that is cut off from SMS and Redis stays useful: it accepts tasks, runs them, and
 * SMS has all of it once it is back, each once and with its history.
 */
import { credentials } from "@grpc/grpc-js";
import type { Event, Task } from "@spear/shared/task.ts";
import { TaskServiceClient } from "@spear/proto/gen/spear/spearlet/v1/spearlet.ts";
import { TaskSpec } from "@spear/proto/gen/spear/common/v1/task.ts";
import { unary } from "@spear/shared/grpc/client.ts";
import { expect, test } from "bun:test";
import { Cluster, type Program, until } from "../programs.ts";

const sh = (script: string) => ({ process: { command: ["sh", "-c", script] } });

/** Submits at the node itself. */
async function submit(node: Program, spec: object, idempotencyKey?: string): Promise<Task> {
  const response = await fetch(`http://${node.http}/v1/tasks`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ spec, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) }),
  });
  const answer = await response.text();
  if (response.status !== 201) throw new Error(`${response.status} ${answer}`);
  return JSON.parse(answer) as Task;
}

/** How the node sees a task's attempt. */
async function phaseOf(node: Program, id: string): Promise<string> {
  const response = await fetch(`http://${node.http}/v1/tasks/${id}`);
  return ((await response.json()) as { phase?: string }).phase ?? "";
}

const ended = (node: Program, id: string) =>
  until(`${id} to end on the node`, async () => (await phaseOf(node, id)) === "ended");

async function historyOf(cluster: Cluster, id: string): Promise<string[]> {
  const { events } = await cluster.api<{ events: Event[] }>("GET", `/v1/tasks/${id}/history`);
  return events.map(({ to, reason, attempt }) => `${attempt} ${to} ${reason}`);
}

const adopted = ["0 pending adopted", "1 assigned adopted", "1 running adopted"];

async function reaches(cluster: Cluster, id: string, state: string): Promise<Task> {
  return until(`${id} to be ${state}`, async () => {
    const task = await cluster.api<Task>("GET", `/v1/tasks/${id}`).catch(() => undefined);
    return task?.state === state ? task : undefined;
  });
}

test("tasks that a cut-off node accepted are in SMS's records when it is back, over SIGKILL of the node", async () => {
  await using cluster = await Cluster.start({
    sms: { leaseMs: 1_500, heartbeatMs: 300 },
    spearlet: { runtimes: "process", cpu: 1, slots: 3 },
  });
  const [node] = cluster.nodes as [Program];
  const small = { resources: { cpu: 0.1, memoryBytes: 0 } };
  const before = await submit(node, { ...sh("echo with SMS"), ...small }, "first");
  await reaches(cluster, before.id, "succeeded");
  const { http, grpc } = cluster.sms;
  await cluster.sms.kill("SIGKILL");
  await cluster.redis.kill();

  // Ends before SMS is back; the same key is the same task.
  const done = await submit(node, { ...sh("echo alone"), ...small }, "key");
  expect((await submit(node, { ...sh("echo alone"), ...small }, "key")).id).toBe(done.id);
  await ended(node, done.id);
  const failing = await submit(node, {
    ...sh("exit 3"),
    ...small,
    retries: { max: 1, delayMs: 1, backoff: "fixed" },
  });
  await ended(node, failing.id);
  // Over gRPC; it runs through SIGKILL of the node, and while SMS comes back.
  const client = new TaskServiceClient(node.grpc, credentials.createInsecure());
  const running = await unary(client, client.submitTask, {
    spec: TaskSpec.fromJSON({ ...sh("exec sleep 1000"), ...small }),
    idempotencyKey: "",
  });
  client.close();
  await until("it to run", async () => (await phaseOf(node, running.id)) === "running");
  // More than the node has beside it waits, and SMS gets it.
  const large = { resources: { cpu: 1, memoryBytes: 0 } };
  const waiting = await submit(node, { ...sh("echo waited"), ...large });
  expect(await phaseOf(node, waiting.id)).toBe("claiming");
  // Only SMS can judge these.
  for (const [field, more] of [
    ["constraints", { constraints: ["label.zone == eu"] }],
    ["exclusive", { exclusive: true }],
  ] as const) {
    const refused = await submit(node, { ...sh("true"), ...more }).catch(String);
    expect(refused).toContain("503");
    expect(refused).toContain(`spec.${field}`);
  }
  await node.kill("SIGKILL");
  await node.restartAt(node.http, node.grpc);
  await until("it to run again", async () => (await phaseOf(node, running.id)) === "running");

  await cluster.redis.restart();
  await cluster.sms.restartAt(http, grpc);
  expect(await reaches(cluster, done.id, "succeeded")).toMatchObject({
    attempt: 1,
    exitCode: 0,
    jobId: done.id.replace("task_", "job_"),
  });
  expect(await historyOf(cluster, done.id)).toEqual([...adopted, "1 succeeded exited"]);
  // It runs on under its record, and is fenced and ended like any other.
  await reaches(cluster, running.id, "running");
  expect(await historyOf(cluster, running.id)).toEqual(adopted);
  await cluster.api("POST", `/v1/tasks/${running.id}/cancel`);
  await reaches(cluster, running.id, "cancelled");
  await reaches(cluster, waiting.id, "succeeded");
  expect(await historyOf(cluster, waiting.id)).toContain("0 pending submitted");
  // The retry is SMS's.
  await reaches(cluster, failing.id, "failed");
  expect(await historyOf(cluster, failing.id)).toEqual([
    ...adopted,
    "1 pending retry",
    "2 assigned placed",
    "2 running claimed",
    "2 failed exited",
  ]);
  // The key is SMS's too.
  expect((await submit(node, { ...sh("echo alone"), ...small }, "key")).id).toBe(done.id);
  expect((await submit(node, sh("echo no"), "first")).id).toBe(before.id);
  const { tasks } = await cluster.api<{ tasks: Task[] }>("GET", "/v1/tasks");
  expect(tasks).toHaveLength(5);
}, 120_000);
