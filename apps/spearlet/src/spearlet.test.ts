import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { credentials } from "@grpc/grpc-js";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { taskStateFromProto } from "@spear/proto/enums.ts";
import {
  HealthServiceClient,
  ObjectServiceClient,
  TaskServiceClient,
} from "@spear/proto/gen/spear/spearlet/v1/spearlet.ts";
import { Fault } from "@spear/shared/fault.ts";
import { messages, unary } from "@spear/shared/grpc/client.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import type { AttemptId } from "./executions/attempt.ts";
import { start } from "./spearlet.ts";
import { nodeConfig, ScriptedSms, startNode, until, type TestNode } from "./testing.ts";

let sms: ScriptedSms;
let node: TestNode;

beforeAll(async () => {
  sms = await ScriptedSms.start();
  node = await startNode(sms, { labels: { zone: "eu" }, slots: 8 });
});

afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await sms[Symbol.asyncDispose]();
});

const sh = (script: string) => ({ process: { command: ["sh", "-c", script] } });

async function get<T>(path: string): Promise<T> {
  return (await (await fetch(`http://${node.http}${path}`)).json()) as T;
}

/** The state in which an attempt was reported to have ended, and how. */
async function endOf(id: AttemptId) {
  const { state, ...exit } = await sms.exitOf(id);
  return { ...exit, state: taskStateFromProto(state) };
}

/** Resolves once the attempt's command runs. */
function runs({ taskId }: AttemptId): Promise<true> {
  return until(async () => {
    const { phase } = await get<{ phase?: string }>(`/v1/tasks/${taskId}`);
    return phase === "running" ? true : undefined;
  });
}

describe("membership", () => {
  test("a node says what it is, what it has and what works", () => {
    const [registration] = sms.registrations;
    expect(registration).toMatchObject({
      id: node.id,
      httpAddress: node.http,
      grpcAddress: node.grpc,
      labels: { zone: "eu" },
      capacity: { slots: 8, extras: {} },
      facts: { pid: process.pid, arch: process.arch },
    });
    expect(registration?.capacity?.cpu).toBeGreaterThan(0);
    expect(registration?.capacity?.memoryBytes).toBeGreaterThan(2 ** 20);
    expect(registration?.runtimes.map(({ name }) => name).toSorted()).toEqual(["mock", "process"]);
    expect(["cgroup2", "cgroup1", "process-tree"]).toContain(registration?.facts?.killMethod ?? "");
  });

  test("heartbeats carry what was measured", async () => {
    const usage = await until(() => sms.heartbeats.at(-1));
    expect(usage).toMatchObject({
      cpu: expect.any(Number) as number,
      memoryBytes: expect.any(Number) as number,
      diskFreeBytes: expect.any(Number) as number,
    });
  });

  test("the id stays across restarts, the incarnation does not", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "spear-node-"));
    await using other = await ScriptedSms.start();
    await (await startNode(other, { dataDir }))[Symbol.asyncDispose]();
    expect(other.deregistered).toEqual([other.hellos[0]?.nodeId ?? ""]);
    await (await startNode(other, { dataDir }))[Symbol.asyncDispose]();
    const [first, second] = other.hellos;
    expect(second?.nodeId).toBe(first?.nodeId ?? "");
    expect(second?.incarnation).not.toBe(first?.incarnation ?? "");
    await rm(dataDir, { recursive: true });
  });

  test("a second SPEARlet does not get the same directory", async () => {
    const config = nodeConfig(sms, node.dataDir);
    const second = start(config, { log: silentLog });
    expect(second).rejects.toThrow(
      new Fault("conflict", `process ${process.pid} uses ${node.dataDir} already`),
    );
    await second.catch(() => undefined);
  });

  test("a node starts, says so and waits while there is no SMS", async () => {
    await using away = await ScriptedSms.start();
    await away.close();
    const dataDir = await mkdtemp(join(tmpdir(), "spear-node-"));
    const waiting = await start(nodeConfig(away, dataDir), { log: silentLog });
    const ready = await fetch(`http://${waiting.http}/readyz`);
    expect(ready.status).toBe(503);
    expect(await ready.json()).toMatchObject({
      parts: { sms: `no session with SMS at ${away.address}` },
    });
    await away.open();
    await until(() => away.hellos[0]);
    await waiting[Symbol.asyncDispose]();
    await rm(dataDir, { recursive: true });
  });
});

describe("an attempt", () => {
  test("is claimed, runs, and its output, code and use are reported", async () => {
    const id = await sms.assign(node.id, sh("echo out; echo err >&2; exit 7"));
    const end = await endOf(id);
    expect(end).toMatchObject({
      state: "failed",
      exitCode: 7,
      failure: { code: "exit_code", message: "the command exited with code 7" },
      nodeFault: false,
    });
    expect(end.usage?.cpuMs).toBeGreaterThanOrEqual(0);
    expect(sms.said(id)).toEqual(["claim", "exit"]);
    expect(await sms.readLogs(id)).toMatchObject({ stdout: "out\n", stderr: "err\n" });
  });

  test("of a failed task fails its queue entry, of one that succeeds leaves none", async () => {
    const counts = () => sms.jobCounts(node.id);
    const before = await counts();
    await endOf(await sms.assign(node.id, { mock: { exitCode: 1 } }));
    await endOf(await sms.assign(node.id, { mock: {} }));
    await until(
      async () => (await counts())["failed"] === (before["failed"] ?? 0) + 1 || undefined,
    );
    await until(async () => (await counts())["active"] === 0 || undefined);
    expect((await counts())["completed"]).toBe(0);
  });

  test("does not start if SMS says that it is stale, and nothing more is said", async () => {
    const id = { taskId: systemIds.next("task"), attempt: 3 };
    sms.stale.add(`${id.taskId}-3`);
    await sms.assign(node.id, sh("echo never"), id);
    await until(() => sms.said(id)[0]);
    await until(async () => (await sms.jobCounts(node.id))["active"] === 0 || undefined);
    expect(sms.said(id)).toEqual(["claim"]);
    expect((await sms.readLogs(id)).stdout).toBe("");
  });

  test("ends when it is cancelled, with all that it started", async () => {
    const id = await sms.assign(node.id, {
      ...sh("setsid sleep 987 & sleep 987 & wait"),
      graceMs: 60_000,
    });
    await runs(id);
    sms.cancel(id);
    expect(await endOf(id)).toMatchObject({ state: "cancelled", failure: { code: "cancelled" } });
    expect(await Bun.$`pgrep -fx "sleep 987"`.nothrow().text()).toBe("");
  });

  test("ends when its time is over", async () => {
    const id = await sms.assign(node.id, { ...sh("exec sleep 1000"), timeoutMs: 50 });
    expect(await endOf(id)).toMatchObject({
      state: "timed_out",
      signal: "SIGTERM",
      failure: { code: "timed_out", message: "it ran longer than its timeout of 50 ms" },
    });
  });

  test("of a runtime that the node does not offer is refused", async () => {
    const id = await sms.assign(node.id, { docker: { image: "none" } });
    await until(() => sms.said(id)[0]);
    expect(sms.said(id)).toEqual(["refusal"]);
  });

  test("that can't be started is a failure that says why", async () => {
    const id = await sms.assign(node.id, { process: { command: ["no-such-command"] } });
    expect(await endOf(id)).toMatchObject({
      state: "failed",
      failure: { code: "command_not_found", message: "there is no command no-such-command" },
    });
  });

  test("that comes twice at once runs once", async () => {
    const id = await sms.assign(node.id, { mock: { sleepMs: 100 } });
    await runs(id);
    // The same entry, given out again as if its lock had been lost.
    const again = await fetch(`http://${node.http}/v1/tasks/${id.taskId}`);
    expect(again.status).toBe(200);
    await endOf(id);
    expect(sms.said(id)).toEqual(["claim", "exit"]);
  });

  test("has a fresh work directory, which goes with it unless it is to be kept", async () => {
    const gone = await sms.assign(node.id, sh("pwd; ls -A; echo x >file"));
    await endOf(gone);
    const { stdout } = await sms.readLogs(gone);
    expect(stdout).toBe(`${join(node.dataDir, "work", `${gone.taskId}-1`)}\n`);
    const kept = await sms.assign(node.id, { ...sh("echo y >file"), keep: true });
    await endOf(kept);
    const name = `${kept.taskId}-1`;
    await until(() => existsSync(join(node.dataDir, "kept", name)) || undefined);
    expect(await readdir(join(node.dataDir, "kept", name))).toEqual(["file"]);
    expect(await readdir(join(node.dataDir, "work"))).toEqual([]);
  });

  test("keeps its secrets out of arguments, reports and what is on the disk", async () => {
    const secret = `s3cret-${crypto.randomUUID()}`;
    const id = await sms.assign(node.id, {
      ...sh('test "$TOKEN" = "$(cat)" && exec sleep 1000'),
      secrets: { TOKEN: secret },
      stdin: Buffer.from(secret).toString("base64"),
    });
    await runs(id);
    const found = await Bun.$`grep -rlF ${secret} ${node.dataDir}`.nothrow().text();
    const { pid } = await get<{ pid: number }>(`/v1/tasks/${id.taskId}`);
    const argv = await Bun.file(`/proc/${pid}/cmdline`).text();
    sms.cancel(id);
    await endOf(id);
    expect({ found, leaked: argv.includes(secret) }).toEqual({ found: "", leaked: false });
    expect(JSON.stringify(sms.reports)).not.toContain(secret);
  });
});

describe("output", () => {
  test("is followed as it comes, until the end", async () => {
    const id = await sms.assign(node.id, sh("mkfifo fifo; echo one; read line <fifo; echo two"));
    await runs(id);
    const logs = sms.readLogs(id, { follow: true }, ({ chunk }) => {
      if (chunk?.data.toString() === "one\n") sms.cancel(id);
    });
    await endOf(id);
    expect((await logs).stdout).toStartWith("one\n");
  });

  test("is bytes, and its tail has true offsets", async () => {
    const id = await sms.assign(node.id, sh("printf '\\377\\000abc\\376'"));
    await endOf(id);
    expect((await sms.readLogs(id)).stdout).toBe("\xff\0abc\xfe");
    expect(await sms.readLogs(id, { stream: "stdout", tailBytes: 2 })).toMatchObject({
      stdout: "c\xfe",
      offsets: [4],
    });
  });

  test("keeps the newest bytes within its limit", async () => {
    const id = await sms.assign(node.id, {
      ...sh("seq 1 20000"),
      maxLogBytes: 4096,
    });
    await endOf(id);
    const { stdout, offsets } = await sms.readLogs(id);
    const all = Array.from({ length: 20_000 }, (_, index) => `${index + 1}\n`).join("");
    expect(all).toEndWith(stdout);
    expect(stdout.length).toBeGreaterThanOrEqual(4096);
    expect(offsets[0]).toBe(all.length - stdout.length);
  });

  test("of an attempt that was never here is an error", async () => {
    const never = { taskId: systemIds.next("task"), attempt: 1 };
    expect((await sms.readLogs(never)).failure).toBe("logs_unavailable");
    const { failure } = await sms.readLogs(never, { stream: "nonsense" });
    expect(failure).toBe("invalid_argument");
  });
});

describe("an exclusive attempt", () => {
  const exclusive = (seconds: number) => ({ ...sh(`exec sleep ${seconds}`), exclusive: true });
  const isRunning = async (seconds: number) =>
    (await Bun.$`pgrep -fx ${`sleep ${seconds}`}`.nothrow().text()) !== "";

  test("goes on while the lease is renewed, and is ended when it is not", async () => {
    await using other = await ScriptedSms.start();
    other.leaseMs = 600;
    await using lonely = await startNode(other);
    const [id, sharing] = [
      await other.assign(lonely.id, exclusive(983)),
      await other.assign(lonely.id, sh("exec sleep 984")),
    ];
    await until(async () => (await isRunning(983)) || undefined);
    await until(async () => (await isRunning(984)) || undefined);
    const before = other.heartbeats.length;
    await until(() => other.heartbeats.length > before + 20 || undefined);
    expect(other.said(id)).toEqual(["claim"]);
    other.renews = false;
    expect(await other.exitOf(id)).toMatchObject({
      nodeFault: true,
      failure: { code: "lease_lost" },
    });
    expect(await isRunning(983)).toBe(false);
    expect(await isRunning(984)).toBe(true);
    expect(other.said(sharing)).toEqual(["claim"]);
  });

  test("is refused by a node whose lease has ended", async () => {
    await using other = await ScriptedSms.start();
    other.leaseMs = 600;
    await using lonely = await startNode(other);
    other.renews = false;
    const before = other.heartbeats.length;
    await until(() => other.heartbeats.length > before + 20 || undefined);
    const id = await other.assign(lonely.id, exclusive(982));
    await until(() => other.said(id)[0]);
    expect(other.said(id)).toEqual(["refusal"]);
    expect(await isRunning(982)).toBe(false);
  });
});

describe("while SMS is away", () => {
  test("what runs goes on, and its end is told when SMS is back", async () => {
    await using other = await ScriptedSms.start();
    await using lonely = await startNode(other);
    const id = await other.assign(lonely.id, sh("read line <fifo; echo done"));
    await other.assign(lonely.id, { mock: { hang: true } });
    await until(() => (other.reports.length >= 2 ? true : undefined));
    await other.close();
    const waiting = await other.assign(lonely.id, { mock: {} });
    const ended = await other.assign(lonely.id, { mock: {} });
    expect(other.said(waiting)).toEqual([]);
    await other.open();
    const hello = await until(() => other.hellos[1]);
    expect(hello.held).toContainEqual(expect.objectContaining(id));
    await other.exitOf(waiting);
    await other.exitOf(ended);
    expect(other.said(waiting)).toEqual(["claim", "exit"]);
  });

  test("an end that was not acknowledged is told again, and not twice after that", async () => {
    await using other = await ScriptedSms.start();
    await using lonely = await startNode(other);
    const id = await other.assign(lonely.id, { mock: { sleepMs: 50 } });
    await until(() => other.said(id)[0]);
    other.silent = true;
    await other.exitOf(id);
    await other.close();
    other.silent = false;
    await other.open();
    const hello = await until(() => other.hellos[1]);
    expect(hello.held).toEqual([id]);
    await until(() => (other.said(id).length === 3 ? true : undefined));
    await other.close();
    await other.open();
    expect((await until(() => other.hellos[2])).held).toEqual([]);
    expect(other.said(id)).toEqual(["claim", "exit", "exit"]);
  });

  test("an attempt that was given to another meanwhile is ended and not reported", async () => {
    await using other = await ScriptedSms.start();
    await using lonely = await startNode(other);
    const id = await other.assign(lonely.id, sh("exec sleep 986"));
    await until(async () => (await Bun.$`pgrep -fx "sleep 986"`.nothrow().text()) || undefined);
    await other.close();
    other.disowned = [id];
    await other.open();
    await until(
      async () => (await Bun.$`pgrep -fx "sleep 986"`.nothrow().text()) === "" || undefined,
    );
    await until(async () => (await other.jobCounts(lonely.id))["active"] === 0 || undefined);
    expect(other.said(id)).toEqual(["claim"]);
  });
});

test("a node that stops ends what it runs, says that it was the node, and leaves", async () => {
  await using other = await ScriptedSms.start();
  const leaving = await startNode(other);
  const id = await other.assign(leaving.id, sh("exec sleep 985"));
  await until(async () => (await Bun.$`pgrep -fx "sleep 985"`.nothrow().text()) || undefined);
  await leaving[Symbol.asyncDispose]();
  expect(await other.exitOf(id)).toMatchObject({
    nodeFault: true,
    failure: { code: "node_stopped" },
  });
  expect(await Bun.$`pgrep -fx "sleep 985"`.nothrow().text()).toBe("");
  expect(other.deregistered).toEqual([leaving.id]);
});

describe("the local API", () => {
  test("shows attempts and ends them", async () => {
    const id = await sms.assign(node.id, { mock: { hang: true } });
    await runs(id);
    const { executions } = await get<{ executions: { taskId: string }[] }>("/v1/executions");
    expect(executions[0]?.taskId).toBe(id.taskId);
    const url = `http://${node.http}/v1/tasks/${id.taskId}/terminate`;
    expect((await fetch(url, { method: "POST" })).status).toBe(200);
    expect((await endOf(id)).state).toBe("cancelled");
    expect(await get<object>(`/v1/tasks/${id.taskId}`)).toMatchObject({
      phase: "ended",
      state: "cancelled",
    });
  });

  test("serves output as lines of JSON and as bytes", async () => {
    const id = await sms.assign(node.id, { mock: { print: "hello" } });
    await endOf(id);
    const url = `http://${node.http}/v1/tasks/${id.taskId}/logs`;
    const lines = (await (await fetch(url)).text()).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { stream: "stdout", data: Buffer.from("hello").toString("base64"), attempt: 1, offset: 0 },
      { end: { taskId: id.taskId, state: "succeeded" } },
    ]);
    const headers = { accept: "application/octet-stream" };
    expect(await (await fetch(`${url}?stream=stdout&tail=3`, { headers })).text()).toBe("llo");
  });

  test("names what is wrong with a request", async () => {
    const problem = async (path: string, body?: unknown) => {
      const init = { method: "POST", headers: { "content-type": "application/json" } };
      const response = await fetch(
        `http://${node.http}${path}`,
        body === undefined ? {} : { ...init, body: JSON.stringify(body) },
      );
      return (await response.json()) as { code: string; field?: string };
    };
    expect(await problem("/v1/tasks/nonsense")).toMatchObject({
      code: "invalid_argument",
      field: "id",
    });
    expect(await problem(`/v1/tasks/${systemIds.next("task")}`)).toMatchObject({
      code: "task_not_found",
    });
    expect(await problem("/v1/tasks", { spec: { mock: {}, bad: 1 } })).toMatchObject({
      code: "invalid_argument",
      field: "spec.bad",
    });
    const elsewhere = { mock: {}, nodeId: systemIds.next("node") };
    expect(await problem("/v1/tasks", { spec: elsewhere })).toMatchObject({ field: "spec.nodeId" });
    // The script has no TaskService; to a node that is an SMS which can't take it.
    expect(await problem("/v1/tasks", { spec: { mock: {} } })).toMatchObject({
      code: "unimplemented",
    });
  });

  test("is the same over gRPC", async () => {
    const tasks = new TaskServiceClient(node.grpc, credentials.createInsecure());
    const id = await sms.assign(node.id, { mock: { print: "hi", hang: true } });
    await runs(id);
    const { taskId } = id;
    expect(await unary(tasks, tasks.getTask, { taskId })).toMatchObject({ taskId, attempt: 1 });
    const phases: number[] = [];
    const chunks: string[] = [];
    const query = { taskId, attempt: 0, stream: "stdout", follow: true };
    const reading = (async () => {
      for await (const { data } of messages(tasks.readLogs(query))) chunks.push(data.toString());
    })();
    for await (const { phase } of messages(tasks.watchTask({ taskId }))) {
      phases.push(phase);
      if (phases.length === 1) await unary(tasks, tasks.terminateTask, { taskId });
    }
    await reading;
    expect(chunks.join("")).toBe("hi");
    expect(phases[0]).toBe(3);
    expect(phases.at(-1)).toBe(6);
    tasks.close();

    const health = new HealthServiceClient(node.grpc, credentials.createInsecure());
    expect(await unary(health, health.getHealth, {})).toMatchObject({
      nodeId: node.id,
      smsConnected: true,
      redisConnected: true,
    });
    health.close();
    const objects = new ObjectServiceClient(node.grpc, credentials.createInsecure());
    const head = unary(objects, objects.headObject, { bucket: "b", key: "k", objectId: "" });
    expect(head).rejects.toMatchObject({ code: "unavailable" });
    await head.catch(() => undefined);
    objects.close();
  });
});
