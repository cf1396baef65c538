/** Nodes that are drained, cordoned, labelled, let in and preempted on, as an operator does it. */
import type { Explanation } from "@spear/shared/explanation.ts";
import type { Node } from "@spear/shared/node.ts";
import type { Event, Task } from "@spear/shared/task.ts";
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { Cluster, Program, until } from "../programs.ts";
import { environment, repository, spearCommand } from "./spear.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({
    nodes: 2,
    sms: { reconcileMs: 100, leaseMs: 30_000, preemption: "on", preemptEveryMs: 100 },
    spearlet: { runtimes: "process,mock", cpu: 2, labels: "zone=eu", extras: "gpu=2" },
  });
  await until("both nodes to be ready", async () => (await ready()).length === 2);
});
afterAll(() => cluster[Symbol.asyncDispose]());
afterEach(async () => {
  const { tasks } = await cluster.api<{ tasks: Task[] }>("GET", "/v1/tasks?pageSize=1000");
  for (const { id } of tasks) await cluster.api("POST", `/v1/tasks/${id}/cancel`);
  await until(
    "the nodes to be ready and empty",
    async () => {
      const nodes = await ready();
      return nodes.length === 2 && nodes.every(({ reserved }) => reserved.slots === 0);
    },
    10_000,
  );
});

const ready = async () =>
  (await cluster.api<{ nodes: Node[] }>("GET", "/v1/nodes?state=ready")).nodes;
const nodeOf = (id: string) => cluster.api<Node>("GET", `/v1/nodes/${id}`);
const taskOf = (id: string) => cluster.api<Task>("GET", `/v1/tasks/${id}`);
const submit = (spec: object) => cluster.api<Task>("POST", "/v1/tasks", { spec });
const sleeping = { process: { command: ["sleep", "1000"] } };

const whyOf = (id: string) => cluster.api<Explanation>("GET", `/v1/tasks/${id}/why`);

/** The task, once an attempt of that number runs. */
const runs = (id: string, attempt = 1) =>
  until(`attempt ${attempt} of ${id} to run`, async () => {
    const task = await taskOf(id);
    return task.state === "running" && task.attempt === attempt ? task : undefined;
  });
const reasons = async (id: string) =>
  (await cluster.api<{ events: Event[] }>("GET", `/v1/tasks/${id}/history`)).events.map(
    ({ to, reason }) => `${to} ${reason}`,
  );

/** Runs a command of the CLI against the cluster; what it wrote. */
async function spear(...args: string[]): Promise<string> {
  return run(spearCommand(...args));
}

async function run(command: string[], more: Record<string, string> = {}): Promise<string> {
  const child = Bun.spawn(command, {
    cwd: repository,
    env: environment({ SPEAR_ADDRESS: `http://${cluster.sms.http}`, ...more }),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${code}\n${stdout}${stderr}`);
  return stdout;
}

/** The program that is the node. */
const programOf = ({ name }: Node) =>
  cluster.nodes[Number(name.slice("node-".length)) - 1] as Program;

test("examples/drain.sh moves a task off its node and takes the drain back", async () => {
  const said = await run(["sh", join(repository, "examples/drain.sh")], {
    SPEAR: spearCommand().join(" "),
  });
  expect(said).toMatch(/1 task left on node_\w+, what still runs in \S+ moves\n/);
  expect(said).toMatch(/node_\w+ is empty\n/);
  expect(said).toContain("running → pending  drained  attempt 1");
  expect(said).toContain("is ready\n");
});

test("a drain outlives SMS and the node: what runs moves at its deadline, nothing new comes", async () => {
  const task = await runs((await submit(sleeping)).id);
  const id = task.nodeId as string;
  await cluster.api("POST", `/v1/nodes/${id}/drain`, { deadlineMs: 1_000 });
  const { http, grpc } = cluster.sms;
  await cluster.sms.kill("SIGKILL");
  await cluster.sms.restartAt(http, grpc);
  const moved = await runs(task.id, 2);
  expect(moved).toMatchObject({ failures: 0, failure: { code: "drained" } });
  expect(moved.nodeId).not.toBe(id);
  expect(await reasons(task.id)).toEqual([
    "pending submitted",
    "assigned placed",
    "running claimed",
    "running drained",
    "pending drained",
    "assigned placed",
    "running claimed",
  ]);
  const program = programOf(await nodeOf(id));
  await program.kill("SIGKILL");
  await program.start();
  await until("the node to be back", async () => {
    const { incarnation, state } = await nodeOf(id);
    return incarnation !== undefined && state === "draining";
  });
  await cluster.api("POST", `/v1/nodes/${id}/drain`, { undo: true });
});

test("a task of higher priority takes the room of a running one, which runs again later", async () => {
  const low = { ...sleeping, resources: { cpu: 2, memoryBytes: 2 ** 25 }, priority: 10 };
  const victims = [await submit(low), await submit(low)];
  for (const { id } of victims) await runs(id);
  const urgent = await runs((await submit({ ...low, priority: 90 })).id);
  const states = await Promise.all(victims.map(({ id }) => taskOf(id)));
  const victim = states.find(({ state }) => state === "pending") as Task;
  // Of two alike the younger goes, and only that.
  expect(states.map(({ state }) => state)).toEqual(["running", "pending"]);
  expect(victim).toMatchObject({ nodeId: urgent.nodeId, failures: 0 });
  const why = await whyOf(victim.id);
  expect(why.summary).toStartWith(
    `it was put back: its room on node ${urgent.nodeId} went to task ${urgent.id} of priority 90; no node`,
  );
  await cluster.api("POST", `/v1/tasks/${urgent.id}/cancel`);
  expect(await runs(victim.id, 2)).toMatchObject({ failures: 0 });
  expect(await reasons(victim.id)).toContain("pending preempted");
});

test("a cordoned node gets nothing new and keeps what it has", async () => {
  const task = await runs((await submit(sleeping)).id);
  const id = task.nodeId as string;
  expect(await spear("node", "cordon", id)).toBe(`${id} is ready, cordoned\n`);
  const waits = await submit({ mock: {}, nodeId: id });
  const why = await until("the cordon to be seen", async () => {
    const now = await whyOf(waits.id);
    return JSON.stringify(now.nodes).includes("is cordoned") ? now : undefined;
  });
  expect(why.changes).toContain(`uncordon node ${(await nodeOf(id)).name}`);
  expect((await taskOf(task.id)).state).toBe("running");
  expect(await spear("node", "uncordon", id)).toBe(`${id} is ready\n`);
  await until("it to be placed", async () => (await taskOf(waits.id)).state === "succeeded");
});

test("labels that an operator sets are seen at once and outlive the node's restart", async () => {
  const [node] = await ready();
  const { id } = node as Node;
  const waits = await submit({ mock: {}, constraints: ["label.disk == ssd"] });
  expect(waits.state).toBe("pending");
  expect(await spear("node", "label", id, "disk=ssd", "zone-")).toBe(`${id} has disk=ssd\n`);
  await until("it to be placed", async () => (await taskOf(waits.id)).state === "succeeded");
  const before = (await nodeOf(id)).incarnation;
  const program = programOf(node as Node);
  await program.kill("SIGKILL");
  await program.start();
  const back = await until("the node to be back", async () => {
    const now = await nodeOf(id);
    return now.incarnation !== before && now.state === "ready" ? now : undefined;
  });
  expect(back.labels).toEqual({ disk: "ssd" });
  expect(await spear("node", "label", id, "zone=us", "disk-")).toBe(`${id} has zone=us\n`);
  await spear("node", "label", id, "zone=eu");
});

test("a node tells what it is and what it used, and offers what it counts", async () => {
  const [node] = await ready();
  const { id } = node as Node;
  const shown = await spear("node", "get", id);
  expect(shown).toMatch(/^cpu, an hour +[▁▂▃▄▅▆▇█]+ \S+, at most /m);
  expect(shown).toMatch(/^extras +0 of 2 gpu taken$/m);
  expect(shown).toMatch(/^machine +\d+ cpus .* of memory, .* of disk$/m);
  expect(shown).toMatch(/^system +.*linux, \d/m);
  const here = [`node == ${id}`, "os == linux", "kernel > 2.6", "distribution exists"];
  const gpus = { resources: { extras: { gpu: 2 }, cpu: 0.1 }, constraints: here };
  const first = await runs((await submit({ ...sleeping, ...gpus })).id);
  const second = await submit({ mock: {}, ...gpus });
  const why = await whyOf(second.id);
  expect(JSON.stringify(why.nodes)).toContain("needs 2 gpu, 0 free");
  await cluster.api("POST", `/v1/tasks/${first.id}/cancel`);
  await until("it to be placed", async () => (await taskOf(second.id)).state === "succeeded");
});

test("a node that is taken out gives its tasks to another", async () => {
  const task = await runs((await submit(sleeping)).id);
  await cluster.api("DELETE", `/v1/nodes/${task.nodeId}`);
  await runs(task.id, 2);
  expect(await reasons(task.id)).toContain("pending node_left");
});

test("where join tokens are required a node is let in with one, and then known by its own credential", async () => {
  const flags = { httpListen: "127.0.0.1:0", grpcListen: "127.0.0.1:0" };
  const sms = {
    ...flags,
    redisUrl: cluster.redis.url,
    namespace: "guarded",
    joinTokens: "required",
  };
  await using guarded = await new Program("sms", { flags: sms }).start();
  const dataDir = join(cluster.directory, "guarded");
  const node = (environment: Record<string, string>) =>
    new Program("spearlet", {
      flags: { ...flags, smsAddress: guarded.grpc, dataDir, runtimes: "mock" },
      environment,
    });
  const known = async () => {
    const response = await fetch(`http://${guarded.http}/v1/nodes?state=ready`);
    return ((await response.json()) as { nodes: Node[] }).nodes.length;
  };
  const token = await run(spearCommand("node", "token", "create", "--ttl", "1h"), {
    SPEAR_ADDRESS: `http://${guarded.http}`,
  });
  const stranger = await node({}).start();
  await stranger.kill("SIGTERM");
  expect(await stranger.log()).toContain("SMS does not let the node in");
  expect(await known()).toBe(0);

  const guest = await node({ SPEAR_SPEARLET_JOIN_TOKEN: token.trim() }).start();
  await until("the node to be let in", async () => (await known()) === 1);
  await guest.kill("SIGTERM");
  const again = { SPEAR_ADDRESS: `http://${guarded.http}` };
  const id = token.slice("spear-join-".length).split(".")[0] as string;
  expect(await run(spearCommand("node", "token", "ls"), again)).toContain(id);
  await run(spearCommand("node", "token", "revoke", id), again);
  await using _ = await node({}).start();
  await until("the node to be let in again", async () => (await known()) === 1);
});
