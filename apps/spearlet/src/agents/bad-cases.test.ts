/**
 * What tasks of strangers do: loops, bombs, floods, escapes. Each is contained by
 * its limits, reported as what it is, and leaves nothing, under every agent that
 * it can be tried on (T6, S1).
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { taskStateFromProto } from "@spear/proto/enums.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import { docker, sharedDocker, type TestDocker } from "../../../../tests/docker.ts";
import { FakeStore } from "../objects/testing.ts";
import { ScriptedSms, startNode, type TestNode } from "../testing.ts";
import { guest, writeWat } from "./wasm/guests/build.ts";
import { body } from "./wasm/testing.ts";

const MIB = 1024 * 1024;
const secret = `secret-${crypto.randomUUID()}`;
/** 10 GiB (10737418240) are as good, and take longer. */
const floodBytes = Number(process.env["SPEAR_TEST_FLOOD_BYTES"] ?? 64 * MIB);
const maxLogBytes = MIB;
const redis = new URL(process.env["SPEAR_TEST_REDIS"] ?? "redis://127.0.0.1:6379");

let sms: ScriptedSms;
let node: TestNode;
let engine: TestDocker;
let store: FakeStore;
/** Gives the store's objects and takes none: the output stays on the node, where it is looked at. */
let readOnly: Bun.Server<undefined>;

beforeAll(async () => {
  // In the environment of the node, and nowhere else.
  process.env["SPEAR_TEST_NODE_SECRET"] = secret;
  sms = await ScriptedSms.start();
  store = new FakeStore();
  readOnly = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: ({ method, headers, url }) =>
      method === "GET" || method === "HEAD"
        ? fetch(`${store.url}${new URL(url).pathname}`, { method, headers })
        : new Response(null, { status: 403 }),
  });
  engine = await sharedDocker();
  node = await startNode(sms, {
    runtimes: ["process", "docker", "wasm"],
    dockerSocket: engine.socketPath,
    storeUrl: `http://127.0.0.1:${readOnly.port}`,
    slots: 16,
  });
  writeFileSync(join(node.dataDir, "secret"), secret, { mode: 0o644 });
  store.put("bad/behave", await readFile(await guest("behave.c")));
  const loop = await writeWat(join(node.dataDir, "loop.wasm"), body("(loop (br 0))"));
  store.put("bad/loop", await readFile(loop));
});

afterAll(async () => {
  const { id } = node;
  await node[Symbol.asyncDispose]();
  expect(alive(id)).toEqual([]);
  expect(readdirSync("/proc").filter(isChildOfOurs)).toEqual([]);
  await readOnly.stop(true);
  await store[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
  await sms[Symbol.asyncDispose]();
  delete process.env["SPEAR_TEST_NODE_SECRET"];
});

/** Processes that an attempt of the node has started. */
function alive(nodeId: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    return read(`/proc/${pid}/environ`).split("\0").includes(`SPEAR_NODE_ID=${nodeId}`);
  });
}

/** True for a Wasm host that this process has started. */
function isChildOfOurs(pid: string): boolean {
  const command = read(`/proc/${pid}/cmdline`).split("\0");
  return command.at(-2) === String(process.pid) && command.some((word) => /wasm/.test(word));
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

type Kind = "process" | "docker" | "wasm";

/** The task that runs a shell script, with a sandbox where that is an option. */
function shell(kind: "process" | "docker", script: string): TaskSpec {
  if (kind === "docker") {
    return { docker: { image: engine.image, command: ["sh", "-c", script] } };
  }
  return { process: { command: ["bash", "-c", script] }, sandbox: "namespace" };
}

const module = (name: string, ...args: string[]): TaskSpec => ({
  wasm: { module: `bad/${name}`, args },
});

/** Runs it to its end, after which nothing of it may be left. */
async function run(kind: Kind, spec: TaskSpec, more: Partial<TaskSpec> = {}) {
  const resources = { cpu: 0.5, memoryBytes: 64 * MIB, ...(kind === "wasm" ? {} : { pids: 24 }) };
  const limits = { resources, graceMs: 100, maxLogBytes };
  const id = await sms.assign(node.id, { ...limits, ...spec, ...more });
  const { state, failure } = await sms.exitOf(id);
  const key = `${id.taskId}-${id.attempt}`;
  expect(alive(node.id).filter((pid) => read(`/proc/${pid}/environ`).includes(id.taskId))).toEqual(
    [],
  );
  expect(existsSync(join(node.dataDir, "work", key))).toBe(false);
  if (kind === "docker") {
    const label = `label=spear.task=${id.taskId}`;
    expect(await docker(engine.socketPath, "ps", "-aq", "--filter", label)).toBe("");
  }
  const log = join(node.dataDir, "logs", key);
  // Shown where a test finds another end than it wants.
  const { stderr } = await sms.readLogs(id, { stream: "stderr" });
  return {
    id,
    state: taskStateFromProto(state),
    failure: failure?.code,
    log,
    words: failure?.message,
    stderr,
  };
}

async function outputOf(kind: Kind, spec: TaskSpec): Promise<string> {
  const { id, state, words } = await run(kind, spec);
  // A script ends as its last command did; that it could not run at all is another matter.
  expect(["succeeded", "failed"]).toContain(state);
  expect(words ?? "the command exited").toContain("the command exited");
  const { stdout, failure } = await sms.readLogs(id, { stream: "stdout" });
  expect(failure).toBeUndefined();
  return stdout;
}

const shells = ["process", "docker"] as const;
const all = [...shells, "wasm"] as const;

describe.concurrent("contained, reported, nothing left:", () => {
  test.each(all)("%s: a loop without end", async (kind) => {
    const spec = kind === "wasm" ? module("loop") : shell(kind, "while :; do :; done");
    const { state } = await run(kind, spec, { timeoutMs: 300 });
    expect(state).toBe("timed_out");
  });

  test.each(shells)("%s: a fork bomb", async (kind) => {
    const spec = shell(kind, "bomb() { bomb | bomb & }; bomb; sleep 1000");
    const { state } = await run(kind, spec, { timeoutMs: 500 });
    expect(state).toBe("timed_out");
  });

  test.each(all)("%s: a memory bomb", async (kind) => {
    const spec =
      kind === "wasm"
        ? module("behave", "allocate", String(2 ** 30))
        : shell(kind, "x=a; while :; do x=$x$x; done");
    expect(await run(kind, spec)).toMatchObject({ state: "failed", failure: "out_of_memory" });
  });

  test.each(all)(
    "%s: output by the gigabyte",
    async (kind) => {
      const bytes = String(floodBytes);
      const spec =
        kind === "wasm"
          ? module("behave", "flood", bytes)
          : shell(kind, `head -c ${bytes} /dev/zero`);
      const { state, log } = await run(kind, spec);
      expect(state).toBe("succeeded");
      const sizes = readdirSync(log).map((name) => statSync(join(log, name)).size);
      const kept = sizes.reduce((sum, size) => sum + size, 0);
      expect(kept).toBeGreaterThanOrEqual(maxLogBytes);
      expect(kept).toBeLessThanOrEqual(maxLogBytes * 1.5);
    },
    600_000,
  );

  test.each(shells)("%s: a grandchild in a session of its own", async (kind) => {
    const { state } = await run(kind, shell(kind, "setsid sleep 1000 & exit 0"));
    expect(state).toBe("succeeded");
  });

  test.each(all)("%s: paths that lead out", async (kind) => {
    const paths = [
      "../../secret",
      join(node.dataDir, "secret"),
      "../../../../../../etc/shadow",
      `/proc/1/root${node.dataDir}/secret`,
      `/proc/${process.pid}/environ`,
      "/proc/self/cwd/../../secret",
    ];
    const script = `for path in ${paths.join(" ")}; do
        cat $path && echo reached $path
        ln -sf $path link && cat link && echo reached $path through a link
      done 2>/dev/null`;
    const spec = kind === "wasm" ? module("behave", "escape", ...paths) : shell(kind, script);
    expect(await outputOf(kind, spec)).toBe("");
  });

  test.each(all)("%s: the environment of the node", async (kind) => {
    const spec =
      kind === "wasm"
        ? module("behave", "environment")
        : shell(kind, "env; cat /proc/[0-9]*/environ 2>/dev/null; true");
    const seen = await outputOf(kind, spec);
    expect(seen).toContain("SPEAR_TASK_ID=");
    expect(seen).not.toContain(secret);
    expect(seen).not.toContain(redis.port);
  });

  // A guest of preview1 has no call that makes a connection; see the tests of WasmAgent.
  test.each(shells)("%s: a connection to the cluster's Redis", async (kind) => {
    const ping =
      kind === "docker"
        ? `echo PING | nc -w 1 ${redis.hostname} ${redis.port}`
        : `exec 3<>/dev/tcp/${redis.hostname}/${redis.port}; echo PING >&3; head -n 1 <&3`;
    expect(await outputOf(kind, shell(kind, ping))).toBe("");
  });
});
