/**
 * Output of tasks through the life of its node: two SMS over one Redis, an Object Store
 * and nodes, all real processes. Every byte is seen once, from either replica.
 */
import { credentials } from "@grpc/grpc-js";
import { TaskServiceClient } from "@spear/proto/gen/spear/sms/v1/task.ts";
import { messages } from "@spear/shared/grpc/client.ts";
import type { Node } from "@spear/shared/node.ts";
import type { Task } from "@spear/shared/task.ts";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Cluster, Program, until } from "../programs.ts";
import { spear } from "./spear.ts";

let cluster: Cluster;
let other: Program;
const extraNodes: Program[] = [];
const smsFlags = { outputRoundMs: 100, leaseMs: 1_000, heartbeatMs: 200, reconcileMs: 100 };

beforeAll(async () => {
  cluster = await Cluster.start({
    nodes: 1,
    store: true,
    sms: smsFlags,
    spearlet: { runtimes: "process,mock" },
  });
  other = new Program("sms", {
    flags: {
      ...smsFlags,
      redisUrl: cluster.redis.url,
      storeUrl: `http://${cluster.store?.http}`,
      httpListen: "127.0.0.1:0",
      grpcListen: "127.0.0.1:0",
    },
  });
  await other.start();
});
afterAll(async () => {
  for (const node of extraNodes) await node[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
});

/** A node of its own, that may be killed; the id is that of its record. */
async function addNode(name: string): Promise<{ node: Program; dir: string; id: string }> {
  const dir = join(cluster.directory, name);
  const node = new Program("spearlet", {
    flags: {
      smsAddress: cluster.sms.grpc,
      dataDir: dir,
      name,
      labels: `only=${name}`,
      runtimes: "process,mock",
      httpListen: "127.0.0.1:0",
      grpcListen: "127.0.0.1:0",
    },
  });
  extraNodes.push(node);
  await node.start();
  const { nodes } = await cluster.api<{ nodes: Node[] }>("GET", "/v1/nodes");
  return { node, dir, id: nodes.find((one) => one.name === name)?.id ?? "" };
}

const submit = (spec: object) => cluster.api<Task>("POST", "/v1/tasks", { spec });
const ended = (id: string) =>
  until(`${id} to end`, async () => {
    const task = await cluster.api<Task>("GET", `/v1/tasks/${id}`);
    return task.finishedAtMs !== undefined && task;
  });

/** True once the node has no output of ended attempts left: all of it is sealed. */
const sealedAt = (dir: string) =>
  until("the output to be sealed", () => readdirSync(join(dir, "logs")).length === 0);

interface Frame {
  stream?: string;
  data?: string;
  offset?: number;
  error?: { code: string };
}

async function frames(sms: Program, id: string, query = ""): Promise<Frame[]> {
  const response = await fetch(`http://${sms.http}/v1/tasks/${id}/logs?${query}`);
  const lines = (await response.text()).split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as Frame);
}

/** The bytes of all streams as they came, as Latin-1, behind the streams' names. */
function joined(all: readonly Frame[]): string {
  let text = "";
  let last = "";
  for (const { stream, data = "" } of all) {
    if (stream === undefined) continue;
    if (stream !== last) text += `<${stream}>`;
    last = stream;
    text += Buffer.from(data, "base64").toString("latin1");
  }
  return text;
}

async function raw(sms: Program, id: string, query: string): Promise<string> {
  const response = await fetch(`http://${sms.http}/v1/tasks/${id}/logs?${query}`, {
    headers: { accept: "application/octet-stream" },
  });
  return Buffer.from(await response.arrayBuffer()).toString("latin1");
}

async function overGrpc(sms: Program, taskId: string): Promise<string> {
  const client = new TaskServiceClient(sms.grpc, credentials.createInsecure());
  let text = "";
  const read = { taskId, stream: "stdout", follow: false, attempt: 0, tailBytes: undefined };
  for await (const { data } of messages(client.readLogs(read))) text += data.toString("latin1");
  client.close();
  return text;
}

/** Tasks of which the store has output. */
async function tasksInStore(): Promise<Set<string>> {
  const answer = await fetch(`http://${cluster.store?.http}/v1/buckets/spear-logs/objects`);
  const { objects } = (await answer.json()) as { objects: { key: string }[] };
  return new Set(objects.map(({ key }) => key.slice(0, key.indexOf("/"))));
}

test("output outlives its node, byte for byte, and so does that of a task that wrote nothing", async () => {
  const { node, dir } = await addNode("mortal");
  const constraints = ["label.only == mortal"];
  const script = String.raw`for i in 1 2 3; do printf "out$i\377\n"; sleep 0.05; printf "err$i\n" >&2; sleep 0.05; done`;
  const loud = await submit({ process: { command: ["sh", "-c", script] }, constraints });
  const silent = await submit({ process: { command: ["true"] }, constraints });
  for (const { id } of [loud, silent]) await ended(id);
  const live = joined(await frames(cluster.sms, loud.id));
  await sealedAt(dir);
  await node.kill("SIGKILL");
  for (const sms of [cluster.sms, other]) {
    expect(joined(await frames(sms, loud.id))).toBe(live);
    expect(joined(await frames(sms, loud.id, "follow=true"))).toBe(live);
    expect(await raw(sms, loud.id, "stream=stdout")).toBe("out1\u00ff\nout2\u00ff\nout3\u00ff\n");
    expect(await raw(sms, loud.id, "stream=stderr&tail=5")).toBe("err3\n");
    expect(await overGrpc(sms, loud.id)).toBe("out1\u00ff\nout2\u00ff\nout3\u00ff\n");
    expect(await frames(sms, silent.id)).toEqual([
      { end: expect.anything() as unknown },
    ] as object[]);
  }
  const env = {
    SPEAR_ADDRESS: `http://${other.http}`,
    SPEAR_STORE_ADDRESS: `http://${cluster.store?.http}`,
  };
  const tail = await spear(["task", "logs", "--tail", "5", "--stream", "stderr", loud.id], { env });
  expect(tail).toMatchObject({ code: 0, stdout: "", stderr: "err3\n" });
  const part = `spear-logs/${loud.id}/1/stderr`;
  const object = await spear(["object", "get", part, "-"], { env });
  expect(object).toMatchObject({ code: 0, stdout: "err1\nerr2\nerr3\n" });
  expect(live).toBe([1, 2, 3].map((i) => `<stdout>out${i}\u00ff\n<stderr>err${i}\n`).join(""));
});

test("who follows across the end, at either replica, sees each byte once, and so does who comes while it is sealed", async () => {
  const script = "for i in $(seq 1 60); do echo line $i; sleep 0.01; done";
  const task = await submit({ process: { command: ["sh", "-c", script] } });
  const expected = Array.from({ length: 60 }, (_, index) => `line ${index + 1}\n`).join("");
  const followers = [cluster.sms, other].map((sms) =>
    raw(sms, task.id, "stream=stdout&follow=true"),
  );
  await ended(task.id);
  // Again and again, through the moment at which the store takes over.
  let reads = 0;
  await until("the output to be sealed", async () => {
    for (const sms of [cluster.sms, other]) {
      expect(await raw(sms, task.id, "stream=stdout")).toBe(expected);
      reads += 1;
    }
    return readdirSync(join(cluster.directory, "node-1/logs")).length === 0;
  });
  expect(reads).toBeGreaterThan(0);
  for (const follower of followers) expect(await follower).toBe(expected);
  expect(await raw(other, task.id, "stream=stdout")).toBe(expected);
});

test("a task that runs is read and cancelled at a replica that has no session with its node", async () => {
  const script = "echo here; exec sleep 60";
  const task = await submit({ process: { command: ["sh", "-c", script] } });
  for (const sms of [cluster.sms, other]) {
    await until("its output", async () => (await raw(sms, task.id, "stream=stdout")) === "here\n");
  }
  const followed = raw(other, task.id, "stream=stdout&follow=true");
  const response = await fetch(`http://${other.http}/v1/tasks/${task.id}/cancel`, {
    method: "POST",
  });
  expect(response.status).toBe(200);
  expect(await ended(task.id)).toMatchObject({ state: "cancelled" });
  expect(await followed).toBe("here\n");
});

test("while the store is away output stays with the node, which seals it when it can", async () => {
  const store = cluster.store as Program;
  const { http, grpc } = store;
  await store.kill("SIGKILL");
  const task = await submit({ process: { command: ["echo", "kept"] } });
  // The end does not wait for the seal.
  expect(await ended(task.id)).toMatchObject({ state: "succeeded" });
  expect(await raw(other, task.id, "stream=stdout")).toBe("kept\n");
  expect(existsSync(join(cluster.directory, "node-1/logs", `${task.id}-1`))).toBe(true);
  await store.restartAt(http, grpc);
  await sealedAt(join(cluster.directory, "node-1"));
  expect(await raw(other, task.id, "stream=stdout")).toBe("kept\n");
});

test("output goes from node and store when its job is removed, or its own retention has passed", async () => {
  const process = { command: ["echo", "soon gone"] };
  const before = await tasksInStore();
  const job = await cluster.api<{ id: string }>("POST", "/v1/jobs", {
    spec: { tasks: { one: { task: { process } } }, retentionMs: 1 },
  });
  const single = await submit({ process, retentionMs: 1 });
  await ended(single.id);
  await sealedAt(join(cluster.directory, "node-1"));
  await until("the job to be removed", async () => {
    const answer = await fetch(`http://${cluster.sms.http}/v1/jobs/${job.id}`);
    return answer.status === 404;
  });
  // That of the tests before is to be kept for a week.
  await until("the output to be removed", async () => Bun.deepEquals(await tasksInStore(), before));
});
