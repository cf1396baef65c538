/**
 * Machines that are cut off, killed or stopped, as real processes in network namespaces,
 * with the settings as they come: who notices, how soon, and what runs where.
 */
import type { Event, Task } from "@spear/shared/task.ts";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { TestNetwork } from "../network.ts";
import { Program, until } from "../programs.ts";
import { startRedis } from "../redis.ts";

const resources = new AsyncDisposableStack();
let network: TestNetwork;
let directory: string;
const sms: Program[] = [];
const nodes = new Map<string, Program>();

/** Promised times are of a machine that is not loaded. */
const within = (ms: number) => ms * Math.max(1, (loadavg()[0] ?? 0) / cpus().length);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-partition-"));
  resources.defer(() => rm(directory, { recursive: true, force: true }));
  network = resources.use(new TestNetwork());
  const redis = resources.use(await startRedis(network.host));
  const common = { logLevel: "info", redisUrl: redis.url };
  const second = network.add("sms2");
  const listen = (address: string) => ({
    httpListen: `${address}:0`,
    grpcListen: `${address}:0`,
  });
  for (const [address, wrapper] of [
    [network.host, []],
    [second.address, second.wrapper],
  ] as const) {
    sms.push(
      resources.use(new Program("sms", { flags: { ...common, ...listen(address) }, wrapper })),
    );
  }
  await Promise.all(sms.map((one) => one.start()));
  for (const name of ["node1", "node2", "node3"]) {
    const { address, wrapper } = network.add(name);
    const flags = {
      ...common,
      ...listen(address),
      smsAddress: sms.map(({ grpc }) => grpc).join(","),
      dataDir: join(directory, name),
      name,
      runtimes: "process",
      sandboxes: "none",
      slots: 20,
    };
    nodes.set(name, resources.use(new Program("spearlet", { flags, wrapper })));
  }
  await Promise.all([...nodes.values()].map((node) => node.start()));
  await ready(3);
});
afterAll(() => resources.disposeAsync());

async function api<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await fetch(`http://${sms[0]?.http}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  if (!response.ok)
    throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

const ready = (count: number) =>
  until(`${count} nodes to be ready`, async () => {
    const { nodes: found } = await api<{ nodes: { state: string }[] }>("GET", "/v1/nodes");
    return found.filter(({ state }) => state === "ready").length === count;
  });

const nameOf = async (nodeId: string | undefined) =>
  (await api<{ name: string }>("GET", `/v1/nodes/${nodeId}`)).name;

/** A command that notes twenty times a second that it is there, in a file that all machines share. */
const noting = (file: string) => ({
  process: {
    command: [
      "sh",
      "-c",
      `while :; do echo $SPEAR_ATTEMPT $(date +%s%N) >>${file}; sleep 0.05; done`,
    ],
  },
  env: { PATH: process.env["PATH"] ?? "" },
  resources: { cpu: 0, memoryBytes: 0 },
});

const runs = (id: string, attempt: number) =>
  until(`attempt ${attempt} to run`, async () => {
    const task = await api<Task>("GET", `/v1/tasks/${id}`);
    return task.attempt === attempt && task.state === "running" ? task : undefined;
  });

/** Runs on that node, or on one that was chosen. */
async function run(spec: object): Promise<Task> {
  const { id } = await api<Task>("POST", "/v1/tasks", { spec });
  return runs(id, 1);
}

async function startedAt(id: string, attempt: number): Promise<number> {
  const { events } = await api<{ events: Event[] }>("GET", `/v1/tasks/${id}/history`);
  const found = events.find((event) => event.attempt === attempt && event.to === "running");
  if (found === undefined) throw new Error(`attempt ${attempt} of ${id} did not start`);
  return found.atMs;
}

/** When each attempt first and last was there, by what it noted, in milliseconds. */
async function noted(file: string): Promise<Map<string, { first: number; last: number }>> {
  const spans = new Map<string, { first: number; last: number }>();
  for (const line of (await readFile(file, "utf8")).trim().split("\n")) {
    const [attempt = "", at = ""] = line.split(" ");
    const ms = Number(at) / 1e6;
    spans.set(attempt, { first: spans.get(attempt)?.first ?? ms, last: ms });
  }
  return spans;
}

const cancel = (id: string) => api("POST", `/v1/tasks/${id}/cancel`);

test("a silent partition: tasks run elsewhere within 5 s, an exclusive one only when it has stopped", async () => {
  const [shared, exclusive] = [join(directory, "shared"), join(directory, "exclusive")];
  const first = await run(noting(shared));
  const only = await run({ ...noting(exclusive), exclusive: true });
  // Nodes are filled one after the other.
  expect(only.nodeId).toBe(first.nodeId as string);
  const cut = await nameOf(first.nodeId);
  const beganMs = Date.now();
  network.unplug(cut);
  expect((await runs(first.id, 2)).nodeId).not.toBe(first.nodeId);
  expect((await startedAt(first.id, 2)) - beganMs).toBeLessThan(within(5_000));
  const next = await runs(only.id, 2);
  expect(next.nodeId).not.toBe(only.nodeId);
  await until("the second attempt to note", async () => (await noted(exclusive)).has("2"));
  const spans = await noted(exclusive);
  expect(spans.get("1")?.last).toBeLessThan(spans.get("2")?.first as number);
  // The other one ran twice meanwhile, and is ended when its node comes back.
  expect((await noted(shared)).get("1")?.last).toBeGreaterThan(beganMs + 4_000);
  network.plugIn(cut);
  await ready(3);
  const size = async () => (await noted(shared)).get("1")?.last;
  await until("the first attempt to be ended", async () => {
    const before = await size();
    await Bun.sleep(300);
    return (await size()) === before;
  });
  expect(await api<Task>("GET", `/v1/tasks/${first.id}`)).toMatchObject({ attempt: 2 });
  await Promise.all([cancel(first.id), cancel(only.id)]);
}, 120_000);

test("SIGKILL of a SPEARlet: its tasks run elsewhere within 1.5 s", async () => {
  const task = await run(noting(join(directory, "killed")));
  const killed = nodes.get(await nameOf(task.nodeId)) as Program;
  const beganMs = Date.now();
  await killed.kill("SIGKILL");
  expect((await runs(task.id, 2)).nodeId).not.toBe(task.nodeId);
  expect((await startedAt(task.id, 2)) - beganMs).toBeLessThan(within(1_500));
  await cancel(task.id);
  await killed.start();
  await ready(3);
}, 120_000);

test("SIGSTOP of a SPEARlet for 2 s: nothing is lost and nothing moves", async () => {
  const file = join(directory, "stopped");
  const task = await run(noting(file));
  const stopped = nodes.get(await nameOf(task.nodeId)) as Program;
  await stopped.kill("SIGSTOP");
  const beganMs = Date.now();
  await until("2 s to pass", () => Date.now() - beganMs >= 2_000);
  await stopped.kill("SIGCONT");
  const { http } = stopped;
  await until("the node to answer", () =>
    fetch(`http://${http}/healthz`)
      .then(({ ok }) => ok)
      .catch(() => false),
  );
  await until("a heartbeat", async () => {
    const node = await api<{ lastSeenAtMs: number }>("GET", `/v1/nodes/${task.nodeId}`);
    return node.lastSeenAtMs > beganMs + 2_000;
  });
  expect(await api<Task>("GET", `/v1/tasks/${task.id}`)).toMatchObject({
    attempt: 1,
    state: "running",
  });
  await cancel(task.id);
}, 120_000);

test("an SMS that is cut off silently: its nodes move to the other before their leases end", async () => {
  const tasks = await Promise.all(
    Array.from({ length: 6 }, (_, number) => run(noting(join(directory, `moved${number}`)))),
  );
  network.unplug("sms2");
  const beganMs = Date.now();
  await until("every node to be heard of at the first", async () => {
    const { nodes: all } = await api<{ nodes: { lastSeenAtMs: number; state: string }[] }>(
      "GET",
      "/v1/nodes",
    );
    return all.every((node) => node.state === "ready" && node.lastSeenAtMs > beganMs + 3_000);
  });
  network.plugIn("sms2");
  for (const { id } of tasks)
    expect(await api<Task>("GET", `/v1/tasks/${id}`)).toMatchObject({ attempt: 1 });
  await Promise.all(tasks.map(({ id }) => cancel(id)));
}, 120_000);
