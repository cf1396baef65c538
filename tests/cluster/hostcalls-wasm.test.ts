/** Hostcalls of Wasm guests and containers, the examples, and the replay of a recorded run. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Audit } from "@spear/shared/audit.ts";
import type { Task, TaskSpec } from "@spear/shared/task.ts";
import { parseRecording, recordingName } from "@spear/spearlet/replay.ts";
import { guest } from "@spear/spearlet/agents/wasm/guests/build.ts";
import { sharedDocker, type TestDocker } from "../docker.ts";
import { Cluster, until } from "../programs.ts";

const root = join(import.meta.dir, "../..");
let cluster: Cluster;
let docker: TestDocker;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "spear-hostcalls-"));
  docker = await sharedDocker();
  cluster = await Cluster.start({
    store: true,
    spearlet: { runtimes: "process,wasm,docker", dockerSocket: docker.socketPath },
  });
  for (const bucket of ["corpus", "results", "guests"]) await store("PUT", bucket);
  await store("PUT", "corpus/objects/one.txt", "one two\nthree");
  await store("PUT", "corpus/objects/two.txt", "four  five ");
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  await docker[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const store = (method: string, path: string, body?: string | Blob | Uint8Array<ArrayBuffer>) =>
  fetch(`http://${cluster.store?.http}/v1/buckets/${path}`, { method, ...(body && { body }) });

/** Compiles a program from C, and stores it. */
async function compiled(object: string, source: string, ...flags: string[]): Promise<void> {
  const out = join(folder, object);
  const command = ["clang", ...flags, "-O1", "-o", out, join(root, source)];
  expect(await Bun.spawn(command, { stderr: "inherit" }).exited).toBe(0);
  await store("PUT", `guests/objects/${object}`, Bun.file(out));
}

async function run(spec: TaskSpec): Promise<Task & { stdout: string }> {
  const { id } = await cluster.api<Task>("POST", "/v1/tasks", { spec });
  const task = await until(`${id} to end`, async () => {
    const now = await cluster.api<Task>("GET", `/v1/tasks/${id}`);
    return now.finishedAtMs === undefined ? undefined : now;
  });
  const response = await fetch(`http://${cluster.sms.http}/v1/tasks/${id}/logs?stream=stdout`, {
    headers: { accept: "application/octet-stream" },
  });
  return { ...task, stdout: await response.text() };
}

test("the examples count words: a process that splits the work among Wasm children", async () => {
  const wasi = ["--target=wasm32-wasi", "--sysroot=/usr", `-I${root}/libs/task/c`];
  await compiled("count.wasm", "examples/hostcalls/count.c", ...wasi);
  const split = join(root, "examples/hostcalls/split.ts");
  const task = await run({
    process: { command: [process.execPath, split, "corpus/", "guests/count.wasm"] },
    resources: { memoryBytes: 0 },
    hostcalls: ["object.read:corpus/*", "task.submit", "keyvalue.read:words", "log"],
  });
  expect(task).toMatchObject({ state: "succeeded", stdout: "2 objects, 5 words\n" });
  expect(await (await store("GET", "results/objects/one.txt")).text()).toBe("3\n");
  const { tasks } = await cluster.api<{ tasks: Task[] }>("GET", "/v1/tasks?name=count");
  expect(tasks.map(({ parentId }) => parentId)).toEqual([task.id, task.id]);
  const audit = await cluster.api<Audit>("GET", `/v1/tasks/${tasks[1]?.id}/audit`);
  expect(audit.proposal).toEqual([
    "object.read:corpus/one.txt",
    "object.write:results/one.txt",
    "log",
    "keyvalue.write:words",
  ]);
  const ungranted = await run({
    wasm: { module: "guests/count.wasm", args: ["corpus/one.txt", "results/x"] },
  });
  expect(ungranted).toMatchObject({ state: "failed", exitCode: 1 });
});

test("a container reaches its node through its work directory", async () => {
  await compiled("host-client", "tests/cluster/hostcalls/host-client.c", "-static");
  const task = await run({
    docker: {
      image: docker.image,
      pull: "never",
      command: [
        "sh",
        "-c",
        `cp client c; chmod +x c; ./c config.get '{"name":"A"}'; ./c log.write '{"message":"x"}'`,
      ],
      user: "1000",
    },
    env: { A: "b" },
    inputs: [{ object: "guests/host-client", path: "client" }],
    hostcalls: ["config:A"],
  });
  const [first, second] = task.stdout.split("\n");
  expect(first).toBe('200 {"value":"b"}');
  expect(second).toStartWith("403 ");
});

test("a recorded run can be replayed, and a different one is noticed", async () => {
  await store("PUT", "guests/objects/replayed.wasm", Bun.file(await guest("replayed.c")));
  const task = await run({
    wasm: { module: "guests/replayed.wasm", args: ["here"] },
    inputs: [{ object: "corpus/one.txt", path: "in.txt" }],
    outputs: [{ path: "out.txt", object: "results/replayed.txt" }],
    hostcalls: ["keyvalue.write:runs"],
    record: true,
  });
  expect(task.state).toBe("succeeded");
  const spear = async (...words: string[]) => {
    const child = Bun.spawn([process.execPath, join(root, "apps/cli/src/main.ts"), ...words], {
      env: {
        ...process.env,
        SPEAR_ADDRESS: `http://${cluster.sms.http}`,
        SPEAR_STORE_ADDRESS: `http://${cluster.store?.http}`,
      },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = [new Response(child.stdout), new Response(child.stderr)];
    return { stdout: await stdout.text(), stderr: await stderr.text(), code: await child.exited };
  };
  const same = await spear("task", "replay", task.id);
  expect(same).toMatchObject({ code: 0, stderr: "" });
  expect(same.stdout).toStartWith(task.stdout);

  // Another clock on the tape: the same steps, but other output.
  const name = recordingName({ taskId: task.id, attempt: 1 }).replace("/", "/objects/");
  const bytes = new Uint8Array(await (await store("GET", name)).arrayBuffer());
  const { head, tape } = parseRecording(bytes);
  expect(head).toMatchObject({ module: expect.any(String), result: { exitCode: 0 } });
  const changed = Buffer.from(bytes);
  for (let at = 0; at < tape.length;) {
    const size = new DataView(tape.buffer, tape.byteOffset).getUint32(at + 1, true);
    // Clocks are entries of kind 1.
    const first = bytes.length - tape.length + at + 5;
    if (tape[at] === 1) changed.writeUInt8(changed.readUInt8(first) ^ 1, first);
    at += 5 + size;
  }
  await store("PUT", name, changed);
  const other = await spear("task", "replay", task.id, "--quiet");
  expect(other.code).toBe(1);
  expect(other.stderr).toContain("stdout was");
  expect(other.stderr).toContain("output out.txt is another");
  await store("PUT", "corpus/objects/one.txt", "changed");
  expect((await spear("task", "replay", task.id)).stderr).toContain("is not what it was");
});
