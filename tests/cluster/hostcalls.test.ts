/**
 * Hostcalls of processes and containers, with every part for real: what is granted
 * works, what is not is refused, and nothing works for an attempt that is over (T3, S1).
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostcallError, connect } from "@spear/task";
import type { Audit } from "@spear/shared/audit.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { silentLog } from "@spear/shared/log.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { Task, TaskSpec } from "@spear/shared/task.ts";
import { Cluster, until } from "../programs.ts";

const script = join(import.meta.dir, "hostcalls/task.ts");
let cluster: Cluster;
let folder: string;
let web: Server;
let webPort: number;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "spear-hostcalls-"));
  web = createServer((request, response) => {
    response.writeHead(request.url === "/moved" ? 302 : 200, { location: "http://10.0.0.1/" });
    request.pipe(response);
  });
  await new Promise<void>((resolve) => {
    web.listen(0, "127.0.0.1", resolve);
  });
  webPort = (web.address() as AddressInfo).port;
  cluster = await Cluster.start({ store: true, spearlet: { runtimes: "process,mock" } });
  await store("PUT", "corpus");
  await store("PUT", "corpus/objects/a.txt", "hello");
});
afterAll(async () => {
  web.close();
  await cluster[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const store = (method: string, path: string, body?: string) =>
  fetch(`http://${cluster.store?.http}/v1/buckets/${path}`, { method, ...(body && { body }) });

async function submit(spec: TaskSpec): Promise<string> {
  return (await cluster.api<Task>("POST", "/v1/tasks", { spec })).id;
}

const ended = (id: string) =>
  until(`${id} to end`, async () => {
    const task = await cluster.api<Task>("GET", `/v1/tasks/${id}`);
    return task.finishedAtMs === undefined ? undefined : task;
  });

/** What a task wrote to one of its streams. */
async function output(id: string, stream = "stdout"): Promise<string> {
  const response = await fetch(`http://${cluster.sms.http}/v1/tasks/${id}/logs`);
  const lines = (await response.text()).split("\n").filter((line) => line !== "");
  const chunks = lines.map((line) => JSON.parse(line) as { stream?: string; data: string });
  return chunks
    .filter((chunk) => chunk.stream === stream)
    .map(({ data }) => Buffer.from(data, "base64").toString())
    .join("");
}

interface Ran {
  id: string;
  /** What it gave back, as JSON. */
  answer: unknown;
}

/** Runs a task that evaluates JavaScript over `task`, a `Task` of the client library. */
async function run(hostcalls: string[], code: string, more: TaskSpec = {}): Promise<Ran> {
  const id = await submit({
    process: { command: [process.execPath, script, code] },
    resources: { memoryBytes: 0 },
    hostcalls,
    ...more,
  });
  const { state, failure } = await ended(id);
  if (state !== "succeeded") throw new Error(`${state}: ${JSON.stringify(failure)}`);
  return { id, answer: JSON.parse(await output(id)) as unknown };
}

describe("a process", () => {
  test("reads and writes objects that it is granted, and streams them", async () => {
    const { id, answer } = await run(
      ["object.read:corpus/*", "object.write:corpus/out/*", "object.keep:corpus/out/b", "log"],
      `const read = String(await task.objects.get("corpus/a.txt"));
       const bytes = (async function* () { for (let i = 0; i < 64; i++) yield new Uint8Array(65536); })();
       const { sizeBytes, id } = await task.objects.put("corpus/out/b", bytes, { ifAbsent: true });
       const again = await task.objects.put("corpus/out/b", "x", { ifAbsent: true }).catch((e) => e.code);
       const { info, body } = await task.objects.stream("corpus/out/b", { offset: 10, lengthBytes: 5 });
       let part = 0; for await (const piece of body) part += piece.length;
       await task.objects.pin("corpus/out/b"); await task.objects.ref("corpus/out/b");
       const stat = await task.objects.stat("corpus/out/b");
       await task.objects.unpin("corpus/out/b"); await task.objects.unref("corpus/out/b");
       const names = (await Array.fromAsync(task.objects.list("corpus/"))).map(({ object }) => object);
       const missing = await task.objects.get("corpus/none").catch((e) => e.code);
       return { read, sizeBytes, same: id === stat.id, whole: info.sizeBytes, part, again, names, missing };`,
    );
    const mib4 = 4 * 1024 * 1024;
    expect(answer).toEqual({
      read: "hello",
      sizeBytes: mib4,
      same: true,
      whole: mib4,
      part: 5,
      again: "precondition_failed",
      names: ["corpus/a.txt", "corpus/out/b"],
      missing: "object_not_found",
    });
    const audit = await cluster.api<Audit>("GET", `/v1/tasks/${id}/audit`);
    expect(audit.proposal).toEqual([
      "object.read:corpus/*",
      "object.read:corpus/a.txt",
      "object.read:corpus/none",
      "object.read:corpus/out/b",
      "object.write:corpus/out/b",
      "object.keep:corpus/out/b",
    ]);
    expect(audit.missing).toEqual([]);
    const written = audit.attempts[0]?.uses.find(({ right }) => right === "object.write");
    expect(written).toMatchObject({ calls: 2, bytes: mib4 + 1, refused: 0 });
  });

  test("logs, reads its own values, and shares keys with its job", async () => {
    const { id, answer } = await run(
      ["log", "config", "keyvalue.read", "keyvalue.write"],
      `await task.log("half done", { part: 1 }, "warn");
       const first = await task.keyvalue.set("a/1", "one", 0);
       const lost = await task.keyvalue.set("a/1", "two", 0).catch((e) => e.code);
       const second = await task.keyvalue.set("a/1", "two", first);
       const { value } = await task.keyvalue.get("a/1");
       const sums = await Promise.all(Array.from({ length: 20 }, () => task.keyvalue.increment("n")));
       await task.keyvalue.delete("a/1");
       const gone = await task.keyvalue.get("a/1");
       const bad = (await task.keyvalue.set("t", "text"), await task.keyvalue.increment("t").catch((e) => e.code));
       const keys = await Array.fromAsync(task.keyvalue.keys());
       return { lost, grew: second > first, value: String(value), sum: Math.max(...sums), gone: gone === undefined,
         bad, keys, config: [await task.config("GREETING"), await task.config("SECRET"), await task.config("HOME")] };`,
      { env: { GREETING: "hi" }, secrets: { SECRET: "hush" } },
    );
    expect(answer).toEqual({
      lost: "precondition_failed",
      grew: true,
      value: "two",
      sum: 20,
      gone: true,
      bad: "conflict",
      keys: ["n", "t"],
      config: ["hi", "hush", null],
    });
    expect(JSON.parse(await output(id, "system"))).toMatchObject({
      level: "warn",
      message: "half done",
      fields: { part: 1 },
    });
  });

  test("reaches the hosts that it is granted, and none of the node's own otherwise", async () => {
    const { answer } = await run(
      [`http:localhost:${webPort}`, "http:*", `http:*:${webPort}`, "http:169.254.169.254"],
      `const url = "http://localhost:${webPort}";
       const echo = await (await task.fetch(url, { method: "POST", body: "ping" })).text();
       const moved = (await task.fetch(url + "/moved")).status;
       const refused = [];
       for (const other of ["http://127.0.0.1:${webPort}/", "http://[::ffff:127.0.0.1]:${webPort}/", "http://localhost/", "ftp://x/"])
         refused.push(await task.fetch(other).then((r) => r.status, (e) => e.code));
       return { echo, moved, refused };`,
    );
    expect(answer).toEqual({
      echo: "ping",
      moved: 302,
      refused: [...Array.from({ length: 3 }, () => "permission_denied"), "invalid_argument"],
    });
  });

  test("is refused each thing that it is not granted, and the audit says what is missing", async () => {
    const { id, answer } = await run(
      ["object.read:corpus/other/*", "http:example.org"],
      `const calls = [
         task.objects.get("corpus/a.txt"), task.objects.stat("corpus/a.txt"), task.objects.put("corpus/x", "x"),
         task.objects.pin("corpus/a.txt"), task.objects.list("corpus/").next(), task.children.submit({ mock: {} }),
         task.children.wait("task_x"), task.log("x"), task.config("A"), task.keyvalue.get("k"),
         task.keyvalue.set("k", "v"), task.fetch("http://localhost:${webPort}/")];
       return Promise.all(calls.map((call) => call.then(() => "done", (e) => e.code)));`,
    );
    expect(answer).toEqual(Array.from({ length: 12 }, () => "permission_denied"));
    const { proposal, missing } = await cluster.api<Audit>("GET", `/v1/tasks/${id}/audit`);
    expect(proposal).toEqual([]);
    expect(missing).toEqual([
      "object.read:corpus/*",
      "object.read:corpus/a.txt",
      "object.write:corpus/x",
      "object.keep:corpus/a.txt",
      "task.submit",
      "log",
      "config:A",
      "keyvalue.read:k",
      "keyvalue.write:k",
      `http:localhost:${webPort}`,
    ]);
  });

  test("has no socket without a grant, and a bad grant is refused at the submit", async () => {
    const { answer } = await run([], `return "never"`).catch((error: unknown) => ({
      answer: String(error),
    }));
    expect(answer).toMatchObject({
      code: "permission_denied",
      message: "this task has no hostcalls",
    });
    const response = await fetch(`http://${cluster.sms.http}/v1/tasks`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ spec: { mock: {}, hostcalls: ["log", "object.raed:corpus/*"] } }),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      field: "spec.hostcalls.1",
      help: 'did you mean "object.read:corpus/*"?',
    });
  });
});

test("children carry their parent's id, share its keys and end with its cancel", async () => {
  const { id, answer } = await run(
    ["task.submit", "keyvalue.read"],
    `const child = { process: { command: ["${process.execPath}", "${script}",
         "return task.keyvalue.increment('from-child', 7)"] },
       resources: { memoryBytes: 0 }, hostcalls: ["keyvalue.write"] };
     const one = await task.children.submit(child, { key: "first" });
     const same = await task.children.submit(child, { key: "first" });
     const { state } = await task.children.wait(one);
     const bad = await task.children.submit({ mock: {}, timeoutMs: -1 }).catch((e) => e.code);
     const strange = await task.children.wait((await task.self()).taskId).catch((e) => e.code);
     return { one, same: same === one, state, bad, strange, value: String((await task.keyvalue.get("from-child")).value) };`,
  );
  expect(answer).toMatchObject({
    same: true,
    state: "succeeded",
    bad: "invalid_argument",
    strange: "permission_denied",
    value: "7",
  });
  const { one } = answer as { one: string };
  expect((await cluster.api<Task>("GET", `/v1/tasks/${one}`)).parentId).toBe(id);

  const parent = await submit({
    process: {
      command: [
        process.execPath,
        script,
        `const hang = { mock: { hang: true } };
         await task.log(JSON.stringify([await task.children.submit(hang),
           await task.children.submit(hang, { detached: true })]));
         await new Promise(() => setInterval(() => {}, 1000));`,
      ],
    },
    resources: { memoryBytes: 0 },
    hostcalls: ["task.submit", "log"],
  });
  const [bound, detached] = await until("the children", async () => {
    const line = await output(parent, "system").catch(() => "");
    if (line === "") return undefined;
    return JSON.parse((JSON.parse(line) as { message: string }).message) as [string, string];
  });
  await cluster.api("POST", `/v1/tasks/${parent}/cancel`);
  expect((await ended(parent)).state).toBe("cancelled");
  expect((await ended(bound)).state).toBe("cancelled");
  expect((await cluster.api<Task>("GET", `/v1/tasks/${detached}`)).cancelRequested).toBe(false);
  await cluster.api("POST", `/v1/tasks/${detached}/cancel`);
});

describe("an attempt that is over", () => {
  /** A task that hands its socket and token to the test, and goes on until it is told. */
  async function borrowed(
    hostcalls: string[],
  ): Promise<{ id: string; env: Record<string, string> }> {
    const file = join(folder, `${crypto.randomUUID()}.json`);
    const give = `printf '{"SPEAR_HOST_SOCKET":"%s","SPEAR_HOST_TOKEN":"%s"}' "$SPEAR_HOST_SOCKET" "$SPEAR_HOST_TOKEN"`;
    const id = await submit({
      process: {
        command: ["sh", "-c", `${give} >${file}.new && mv ${file}.new ${file}; exec sleep 60`],
      },
      hostcalls,
    });
    const text = await until("the socket", () => readFile(file, "utf8").catch(() => undefined));
    return { id, env: JSON.parse(text) as Record<string, string> };
  }

  const codeOf = (call: Promise<unknown>): Promise<string> =>
    call.then(
      () => "done",
      (error: unknown) => (error instanceof HostcallError ? error.code : "no answer"),
    );

  test("is refused, and so is the token of another attempt", async () => {
    const one = await borrowed(["log", "keyvalue.write"]);
    const other = await borrowed(["log"]);
    expect(await codeOf(connect(one.env).log("still here"))).toBe("done");
    const mixed = { ...one.env, SPEAR_HOST_TOKEN: other.env["SPEAR_HOST_TOKEN"] ?? "" };
    expect(await codeOf(connect(mixed).log("not mine"))).toBe("unauthenticated");
    await cluster.api("POST", `/v1/tasks/${one.id}/cancel`);
    await cluster.api("POST", `/v1/tasks/${other.id}/cancel`);
    await ended(one.id);
    expect(await codeOf(connect(one.env).keyvalue.set("k", "late"))).toBe("no answer");
  });

  test("is refused every change as soon as a newer attempt exists", async () => {
    const grants = [
      "object.read:corpus/*",
      "object.write:corpus/*",
      "keyvalue.write",
      "task.submit",
    ];
    const { id, env } = await borrowed([...grants, "log"]);
    const task = connect(env);
    const redis = connectRedis(cluster.redis.url, "commands", silentLog);
    try {
      expect(await codeOf(task.keyvalue.set("k", "mine"))).toBe("done");
      // What another node's attempt would have made of the record; this node has not heard of it.
      await redis.hset(new Keys().task(id), "a", 2);
      expect(await codeOf(task.keyvalue.set("k", "late"))).toBe("stale_attempt");
      expect(await codeOf(task.objects.put("corpus/late", "late"))).toBe("stale_attempt");
      expect(await codeOf(task.children.submit({ mock: {} }))).toBe("stale_attempt");
      await until("the read to be refused", async () => {
        return (await codeOf(task.objects.get("corpus/a.txt"))) === "stale_attempt";
      });
      expect((await store("HEAD", "corpus/objects/late")).status).toBe(404);
      await redis.hset(new Keys().task(id), "a", 1);
    } finally {
      redis.disconnect();
    }
    await cluster.api("POST", `/v1/tasks/${id}/cancel`);
    await ended(id);
  });
});

test("a sandbox reaches its node and nothing else", async () => {
  const client = join(folder, "host-client");
  const source = join(import.meta.dir, "hostcalls/host-client.c");
  const built = Bun.spawn(["clang", "-static", "-O1", "-o", client, source], { stderr: "inherit" });
  expect(await built.exited).toBe(0);
  await writeFile(join(folder, "note"), "");
  await store("PUT", "tools");
  await fetch(`http://${cluster.store?.http}/v1/buckets/tools/objects/host-client`, {
    method: "PUT",
    body: Bun.file(client),
  });
  const id = await submit({
    process: {
      command: [
        "sh",
        "-c",
        `cp client c; chmod +x c; ./c config.get '{"name":"A"}'; ./c log.write '{"message":"x"}'`,
      ],
    },
    sandbox: "namespace",
    env: { A: "b" },
    inputs: [{ object: "tools/host-client", path: "client" }],
    hostcalls: ["config:A"],
  });
  await ended(id);
  const lines = (await output(id)).trim().split("\n");
  expect(lines[0]).toBe('200 {"value":"b"}');
  expect(lines[1]).toStartWith("403 ");
});
