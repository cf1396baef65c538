/** What becomes of containers when their SPEARlet is killed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { docker, sharedDocker, type TestDocker } from "../../../../../tests/docker.ts";
import { systemIds, type NodeId } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import type { AgentFailure } from "../agent.ts";
import { nodeLabel } from "./container.ts";
import { DockerAgent, type DockerOptions } from "./docker.ts";
import { MemorySink, newAttempt, until } from "./testing.ts";

const nodeId = systemIds.next("node");
const never = new AbortController().signal;
let engine: TestDocker;
let agent: DockerAgent;
let dir: string;

const agentOf = (node: NodeId, options: Partial<DockerOptions> = {}) =>
  new DockerAgent({ nodeId: node, socketPath: engine.socketPath, log: silentLog, ...options });

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "spear-adopt-"));
  engine = await sharedDocker();
  agent = agentOf(nodeId);
});

afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  expect(await containersOf(nodeId)).toBe("");
  await engine[Symbol.asyncDispose]();
  await rm(dir, { recursive: true });
});

const containersOf = (node: string) =>
  docker(engine.socketPath, "ps", "-aq", "--filter", `label=${nodeLabel}=${node}`);

/** A SPEARlet that starts one attempt, keeps its output in files and says its handle. */
const program = `
import { appendFileSync } from "node:fs";
import { silentLog } from "@spear/shared/log.ts";
import { DockerAgent } from "./docker.ts";

const { options, context, dir } = JSON.parse(process.env.ATTEMPT);
const agent = new DockerAgent({ ...options, log: silentLog });
const write = async (stream, bytes) => appendFileSync(dir + "/" + stream, bytes);
const stdin = Buffer.from(context.stdin);
const attempt = { ...context, stdin, output: { write } };
const prepared = await agent.prepare(attempt, new AbortController().signal);
const running = await prepared.start();
console.log(running.handle);
await running.exit;
`;

interface OrphanOptions {
  stdin?: string;
  maxLogBytes?: number;
}

/** Starts an attempt in a SPEARlet of its own; `kill` ends that by SIGKILL. */
async function orphan(script: string, options: OrphanOptions = {}) {
  const logDir = await mkdtemp(join(dir, "log-"));
  const workDir = join(logDir, "work");
  await mkdir(workDir);
  const { output: _, ...context } = await newAttempt(engine.image, ["sh", "-c", script], {
    workDir,
    ...options,
  });
  const spearlet = Bun.spawn([process.execPath, "-e", program], {
    cwd: import.meta.dir,
    env: {
      ...process.env,
      ATTEMPT: JSON.stringify({
        options: { nodeId, socketPath: engine.socketPath },
        context: { ...context, stdin: options.stdin ?? "" },
        dir: logDir,
      }),
    },
    stdout: "pipe",
    stderr: "inherit",
  });
  const { value } = await spearlet.stdout.getReader().read();
  const handle = Buffer.from(value ?? [])
    .toString()
    .trim();
  const kept = async (stream: "stdout" | "stderr") => {
    const file = Bun.file(join(logDir, stream));
    return (await file.exists()) ? Buffer.from(await file.bytes()) : Buffer.alloc(0);
  };
  return {
    handle,
    workDir,
    kept,
    kill: async () => {
      spearlet.kill("SIGKILL");
      await spearlet.exited;
    },
    /** Adopts it, and returns all that was output, by whichever SPEARlet. */
    adopt: async (meanwhile?: () => Promise<void>) => {
      const output = new MemorySink();
      const [stdout, stderr] = [await kept("stdout"), await kept("stderr")];
      const running = await agent.adopt(handle, {
        ...context,
        output,
        kept: { stdout: stdout.byteLength, stderr: stderr.byteLength },
      });
      if (running === undefined) throw new Error("the container was not adopted");
      await meanwhile?.();
      const exit = await running.exit;
      await agent.reap(running.handle);
      return {
        exit,
        stdout: Buffer.concat([stdout, output.bytes("stdout")]).toString(),
        stderr: Buffer.concat([stderr, output.bytes("stderr")]).toString(),
        system: output.text("system"),
      };
    },
  };
}

const idOf = (handle: string) => (JSON.parse(handle) as { id: string }).id;

/** Exit code of the container, once it has ended. */
const ended = (handle: string) => docker(engine.socketPath, "wait", idOf(handle));

const lines = (count: number, word: string) =>
  Array.from({ length: count }, (_, index) => `${word} ${index + 1}\n`).join("");

describe.concurrent("after SIGKILL of the SPEARlet", () => {
  test("a running container is followed on without a gap or a repeat", async () => {
    const left = await orphan(
      `cat
       i=0
       while [ ! -e stop ]; do
         i=$((i+1)); echo out $i; echo err $i >&2; usleep 1000
       done
       exit $((i > 100 ? 3 : 4))`,
      { stdin: "input\n" },
    );
    await until(async () => (await left.kept("stderr")).includes("err 50\n"));
    await left.kill();
    const keptBytes = (await left.kept("stdout")).byteLength;
    const { exit, stdout, stderr, system } = await left.adopt(async () => {
      await writeFile(join(left.workDir, "stop"), "");
    });
    const count = stderr.split("\n").length - 1;
    expect(stdout).toBe(`input\n${lines(count, "out")}`);
    expect(stderr).toBe(lines(count, "err"));
    expect(stdout.length).toBeGreaterThan(keptBytes);
    expect(system).toBe("");
    expect(exit.exitCode).toBe(count > 100 ? 3 : 4);
    expect(exit.usage.cpuMs).toBeGreaterThan(0);
  });

  test("the middle of a line, and bytes that are no text", async () => {
    const left = await orphan(
      "printf 'ab\\377\\000'; until [ -e go ]; do usleep 1000; done; printf '\\376cd'",
    );
    await until(async () => (await left.kept("stdout")).byteLength === 4);
    await left.kill();
    await writeFile(join(left.workDir, "go"), "");
    const { stdout, exit } = await left.adopt();
    expect(stdout).toBe(Buffer.from("ab\xff\0\xfecd", "latin1").toString());
    expect(exit.exitCode).toBe(0);
  });

  test("a container that ended meanwhile has its whole output and its exit", async () => {
    const left = await orphan("echo one; until [ -e go ]; do usleep 1000; done; echo two; exit 9");
    await left.kill();
    await writeFile(join(left.workDir, "go"), "");
    expect(await ended(left.handle)).toBe("9");
    const { stdout, exit } = await left.adopt();
    expect(stdout).toBe("one\ntwo\n");
    expect(exit.exitCode).toBe(9);
    expect(exit.usage.cpuMs).toBeGreaterThan(0);
  });

  test("a log that had to drop its beginning is output once more, with a note", async () => {
    const line = "0123456789".repeat(10);
    const left = await orphan(
      `until [ -e go ]; do usleep 1000; done; yes ${line} | head -n 30000; echo last`,
      { maxLogBytes: 4096 },
    );
    await left.kill();
    await writeFile(join(left.workDir, "go"), "");
    await ended(left.handle);
    const { stdout, system } = await left.adopt();
    expect(system).toBe("the engine's log is full: what it still has is output again\n");
    expect(stdout.length).toBeGreaterThan(100_000);
    expect(stdout).toEndWith(`${line}\nlast\n`);
  });

  test("nor is what a log drops while it is followed lost without a word", async () => {
    const left = await orphan("until [ -e go ]; do usleep 1000; done; seq 200000; echo last", {
      maxLogBytes: 4096,
    });
    await left.kill();
    const { stdout, system } = await left.adopt(async () => {
      await writeFile(join(left.workDir, "go"), "");
    });
    expect(system).toContain("the engine's log is full: what it still has is output again\n");
    expect(stdout).toEndWith("\n199999\n200000\nlast\n");
  });

  test("an adopted container is stopped like any other", async () => {
    const left = await orphan("trap 'exit 5' TERM; while :; do usleep 1000; done");
    await left.kill();
    const running = await agent.adopt(
      left.handle,
      await newAttempt(engine.image, [], { workDir: dir }),
    );
    await running?.stop(30_000);
    expect((await running?.exit)?.exitCode).toBe(5);
    await agent.reap(left.handle);
  });

  test("or reaped, and then there is nothing to adopt", async () => {
    const left = await orphan("trap '' TERM; while :; do usleep 1000; done");
    await left.kill();
    await agent.reap(left.handle);
    await agent.reap(left.handle);
    const filter = `id=${idOf(left.handle)}`;
    expect(await docker(engine.socketPath, "ps", "-aq", "--filter", filter)).toBe("");
    const context = await newAttempt(engine.image, [], { workDir: dir });
    expect(await agent.adopt(left.handle, context)).toBeUndefined();
  });
});

test("a sweep removes what no handle names, and spares what runs and other nodes", async () => {
  const sweptId = systemIds.next("node");
  const otherId = systemIds.next("node");
  const context = () => newAttempt(engine.image, ["sleep", "1000"], { workDir: dir });

  const killed = agentOf(sweptId);
  const known = await (await killed.prepare(await context(), never)).start();
  await (await killed.prepare(await context(), never)).start();
  await killed.prepare(await context(), never);
  const other = agentOf(otherId);
  const others = await other.prepare(await context(), never);

  const swept = agentOf(sweptId);
  const current = await swept.prepare(await context(), never);
  expect(await swept.sweep([known.handle])).toBe(2);
  expect((await containersOf(sweptId)).split("\n")).toHaveLength(2);
  await current.cleanup();
  expect(await swept.sweep([])).toBe(1);
  expect(await containersOf(sweptId)).toBe("");
  await others.cleanup();
  expect(await containersOf(otherId)).toBe("");
  expect((await known.exit).signal).toBe("SIGKILL");
});

test("a container that somebody else removed is an error that says so", async () => {
  const context = await newAttempt(engine.image, ["sleep", "1000"], { workDir: dir });
  const prepared = await agent.prepare(context, never);
  const running = await prepared.start();
  await agentOf(nodeId).reap(running.handle);
  // Either may come first: that it was killed, or that it is gone.
  const outcome = await running.exit.catch((error: AgentFailure) => error.failure.code);
  expect(outcome).toBeOneOf(["container_removed", { signal: "SIGKILL", usage: expect.anything() }]);
  await prepared.cleanup();
});
