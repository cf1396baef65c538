/** What is killed, stopped and restarted loses no task and does none twice. */
import type { Event, Task } from "@spear/shared/task.ts";
import { expect, test } from "bun:test";
import { Cluster, until } from "../programs.ts";

const get = (cluster: Cluster, id: string) => cluster.api<Task>("GET", `/v1/tasks/${id}`);

async function nodesReady(cluster: Cluster, count: number): Promise<void> {
  await until(`${count} nodes to be ready`, async () => {
    const { nodes } = await cluster.api<{ nodes: { state: string }[] }>(
      "GET",
      "/v1/nodes?state=ready",
    );
    return nodes.length === count;
  });
}

/** The program that is the node with this id. */
async function programOf(cluster: Cluster, nodeId: string) {
  const { name } = await cluster.api<{ name: string }>("GET", `/v1/nodes/${nodeId}`);
  const program = cluster.nodes[Number(name.slice("node-".length)) - 1];
  if (program === undefined) throw new Error(`no program for ${name}`);
  return program;
}

async function runningTask(cluster: Cluster, spec: object): Promise<Task> {
  const { id } = await cluster.api<Task>("POST", "/v1/tasks", { spec });
  return until("the task to run", async () => {
    const task = await get(cluster, id);
    return task.state === "running" ? task : undefined;
  });
}

const attemptRuns = (cluster: Cluster, id: string, attempt: number) =>
  until(`attempt ${attempt} to run`, async () => {
    const task = await get(cluster, id);
    return task.attempt === attempt && task.state === "running" ? task : undefined;
  });

test("a killed SPEARlet's task runs again on the other node, and the killed one's word counts no more", async () => {
  await using cluster = await Cluster.start({ nodes: 2, spearlet: { runtimes: "process" } });
  await nodesReady(cluster, 2);
  const first = await runningTask(cluster, { process: { command: ["sleep", "1000"] } });
  const killed = await programOf(cluster, first.nodeId ?? "");
  await killed.kill("SIGKILL");
  const second = await attemptRuns(cluster, first.id, 2);
  expect(second.nodeId).not.toBe(first.nodeId);

  // The killed one comes back, reaps what it left and says so: an old attempt, refused.
  await killed.start();
  await nodesReady(cluster, 2);
  expect(await get(cluster, first.id)).toMatchObject({
    state: "running",
    attempt: 2,
    nodeId: second.nodeId,
  });
  await cluster.api("POST", `/v1/tasks/${first.id}/cancel`);
  await until("the end", async () => (await get(cluster, first.id)).state === "cancelled");
});

test("a SPEARlet frozen past its lease finds its attempt refused and stops it", async () => {
  await using cluster = await Cluster.start({
    nodes: 2,
    sms: { leaseMs: 1_500, heartbeatMs: 300 },
    spearlet: { runtimes: "process" },
  });
  await nodesReady(cluster, 2);
  const first = await runningTask(cluster, {
    process: { command: ["sh", "-c", "echo $$; exec sleep 1000"] },
  });
  const pid = await until("the command to say its process id", async () => {
    const output = await fetch(
      `http://${cluster.sms.http}/v1/tasks/${first.id}/logs?stream=stdout`,
      {
        headers: { accept: "application/octet-stream" },
      },
    );
    return Number(await output.text()) || undefined;
  });
  const frozen = await programOf(cluster, first.nodeId ?? "");
  await frozen.kill("SIGSTOP");
  const second = await attemptRuns(cluster, first.id, 2);
  expect(second.nodeId).not.toBe(first.nodeId);
  await frozen.kill("SIGCONT");
  await until("the first attempt's process to be gone", () => !alive(pid));
  expect(await get(cluster, first.id)).toMatchObject({ state: "running", attempt: 2 });
  const { events } = await cluster.api<{ events: Event[] }>("GET", `/v1/tasks/${first.id}/history`);
  expect(events.map((event) => `${event.attempt} ${event.to} ${event.reason}`)).toEqual([
    "0 pending submitted",
    "1 assigned placed",
    "1 running claimed",
    "1 pending node_lost",
    "2 assigned placed",
    "2 running claimed",
  ]);
});

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("SIGKILL of redis-server with 1,000 tasks in flight: each ends once", async () => {
  await using cluster = await Cluster.start({
    nodes: 2,
    // The test is about Redis; a lease must not run out while nobody can renew it.
    sms: { leaseMs: 30_000 },
    spearlet: { runtimes: "mock", slots: 200 },
  });
  await nodesReady(cluster, 2);
  const spec = { mock: { sleepMs: 1_500 }, resources: { cpu: 0, memoryBytes: 0 } };
  const { taskIds } = await cluster.api<{ taskIds: string[] }>("POST", "/v1/tasks:batch", {
    specs: Array.from({ length: 1_000 }, () => spec),
  });
  await until("many to run", async () => {
    const { tasks } = await cluster.api<{ tasks: Task[] }>(
      "GET",
      "/v1/tasks?state=running&pageSize=1000",
    );
    return tasks.length > 100;
  });
  await cluster.redis.kill();
  await cluster.redis.restart();
  await until(
    "all to end",
    async () => {
      const counts = await Promise.all(
        ["pending", "assigned", "running"].map(async (state) => {
          const page = await cluster
            .api<{ tasks: Task[] }>("GET", `/v1/tasks?state=${state}&pageSize=1`)
            .catch(() => ({ tasks: [undefined] }));
          return page.tasks.length;
        }),
      );
      return counts.every((count) => count === 0);
    },
    60_000,
  );
  for (const id of taskIds) {
    const { events } = await cluster.api<{ events: Event[] }>("GET", `/v1/tasks/${id}/history`);
    const ends = events.filter((event) => event.to === "succeeded");
    expect(ends).toHaveLength(1);
    expect(events.at(-1)?.to).toBe("succeeded");
  }
}, 120_000);

test("SIGKILL of SMS with tasks in flight: its successor finishes them, each once", async () => {
  await using cluster = await Cluster.start({
    nodes: 1,
    spearlet: { runtimes: "mock", slots: 50 },
  });
  await nodesReady(cluster, 1);
  const spec = { mock: { sleepMs: 500 }, resources: { cpu: 0, memoryBytes: 0 } };
  const { taskIds } = await cluster.api<{ taskIds: string[] }>("POST", "/v1/tasks:batch", {
    specs: Array.from({ length: 200 }, () => spec),
  });
  const [http, grpc] = [cluster.sms.http, cluster.sms.grpc];
  await cluster.sms.kill("SIGKILL");
  await cluster.sms.restartAt(http, grpc);
  await until(
    "all to succeed",
    async () => {
      const { tasks } = await cluster.api<{ tasks: Task[] }>(
        "GET",
        "/v1/tasks?state=succeeded&pageSize=1000",
      );
      return tasks.length === taskIds.length;
    },
    60_000,
  );
}, 120_000);
