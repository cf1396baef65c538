/** Containers through a whole cluster: the example, and a SPEARlet that is killed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Task } from "@spear/shared/task.ts";
import { docker, sharedDocker, type TestDocker } from "../docker.ts";
import { Cluster, type Program, until } from "../programs.ts";

const root = join(import.meta.dir, "../..");
let cluster: Cluster;
let engine: TestDocker;
beforeAll(async () => {
  engine = await sharedDocker();
  cluster = await Cluster.start({
    store: true,
    sms: { leaseMs: 60_000 },
    spearlet: {
      runtimes: "docker",
      dockerSocket: engine.socketPath,
      slots: 8,
      cpu: 8,
      memoryBytes: 2 ** 33,
    },
  });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

async function spear(...args: string[]): Promise<string> {
  const child = Bun.spawn([process.execPath, join(root, "apps/cli/src/main.ts"), ...args], {
    cwd: cluster.directory,
    env: {
      PATH: process.env["PATH"] ?? "",
      SPEAR_ADDRESS: cluster.sms.http,
      SPEAR_STORE_ADDRESS: cluster.store?.http ?? "",
    },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (exitCode !== 0) throw new Error(`spear ${args.join(" ")}: ${exitCode}\n${stdout}${stderr}`);
  return stdout;
}

test("docker-hello.yaml runs as its comment says", async () => {
  await spear("bucket", "create", "hello");
  const example = join(root, "examples/docker-hello.yaml");
  await spear("submit", example, "-p", `image=${engine.image}`, "-p", "who=you", "--wait");
  const said = await spear("object", "get", "hello/hello.txt", "-");
  expect(said).toBe("hello you, from /work as user 1000\n");
});

/** Counts until there is a file `go` in its work directory; a later attempt ends at once. */
const counting = `
  [ $SPEAR_ATTEMPT = 1 ] || exit 4
  i=0; until [ -e go ]; do i=$((i+1)); echo $i; usleep 20000; done
  echo end $i; exit 3`;

const api = () => `http://${cluster.sms.http}/v1/tasks`;
const get = async (id: string) => (await (await fetch(`${api()}/${id}`)).json()) as Task;

async function submit(): Promise<string> {
  const spec = { docker: { image: engine.image, command: ["sh", "-c", counting] } };
  const response = await fetch(api(), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ spec }),
  });
  return ((await response.json()) as Task).id;
}

async function stdoutOf(id: string): Promise<string> {
  const response = await fetch(`${api()}/${id}/logs?stream=stdout`, {
    headers: { accept: "application/octet-stream" },
  });
  return response.text();
}

const workDirs = () => join(cluster.directory, "node-1/work");

/** Four tasks in their containers, each of which has begun to count. */
async function fourCounting(): Promise<string[]> {
  const ids = await Promise.all([submit(), submit(), submit(), submit()]);
  for (const id of ids) {
    await until("its output", async () => (await stdoutOf(id)).includes("\n3\n"));
  }
  expect(readdirSync(workDirs())).toHaveLength(ids.length);
  return ids;
}

async function nothingIsLeft(): Promise<void> {
  const nodeId = readFileSync(join(cluster.directory, "node-1/node-id"), "utf8").trim();
  const label = `label=spear.node=${nodeId}`;
  const left = () => docker(engine.socketPath, "ps", "-aq", "--filter", label);
  await until("no container", async () => (await left()) === "");
  await until("no work directory", () => readdirSync(workDirs()).length === 0);
}

const node = () => cluster.nodes[0] as Program;

test("a SPEARlet that is killed while SMS is away takes its containers over again", async () => {
  const ids = await fourCounting();
  const { http, grpc } = cluster.sms;
  await cluster.sms.kill("SIGKILL");
  await node().kill("SIGKILL");
  // Two end while nobody watches, the others after they were taken over.
  const [one = "", two = "", ...others] = readdirSync(workDirs());
  for (const dir of [one, two]) writeFileSync(join(workDirs(), dir, "go"), "");
  await node().start();
  for (const dir of others) writeFileSync(join(workDirs(), dir, "go"), "");
  await cluster.sms.restartAt(http, grpc);

  for (const id of ids) {
    await until("its end", async () => (await get(id)).state === "failed");
    expect(await get(id)).toMatchObject({ attempt: 1, exitCode: 3 });
    const lines = (await stdoutOf(id)).trimEnd().split("\n");
    const numbers = Array.from({ length: lines.length - 1 }, (_, index) => String(index + 1));
    expect(lines).toEqual([...numbers, `end ${numbers.length}`]);
  }
  await nothingIsLeft();
});

test("under an SMS that noticed, what was killed runs anew, and its containers are removed", async () => {
  const ids = await fourCounting();
  await node().kill("SIGKILL");
  await node().start();
  for (const id of ids) {
    await until("its end", async () => (await get(id)).state === "failed");
    expect(await get(id)).toMatchObject({ attempt: 2, exitCode: 4 });
  }
  await nothingIsLeft();
});
