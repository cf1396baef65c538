/** What becomes of the runtime and of running containers when the engine goes away. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { docker, privateDocker, type PrivateDocker } from "../../../../../tests/docker.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { DockerAgent } from "./docker.ts";
import { newAttempt } from "./testing.ts";

const never = new AbortController().signal;
let engine: PrivateDocker;
let workDir: string;

beforeAll(async () => {
  workDir = await mkdtemp(join(tmpdir(), "spear-engine-work-"));
  engine = await privateDocker();
});

afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  await rm(workDir, { recursive: true });
});

const newAgent = (lossMs?: number) =>
  new DockerAgent({
    nodeId: systemIds.next("node"),
    socketPath: engine.socketPath,
    ...(lossMs === undefined ? {} : { lossMs }),
    log: silentLog,
  });

const shell = (script: string) => newAttempt(engine.image, ["sh", "-c", script], { workDir });

const lost = () => ({
  failure: {
    code: "engine_unavailable",
    message: expect.stringContaining(`Docker Engine at ${engine.socketPath} does not answer`),
  },
  nodeFault: true,
});

test("a lost engine withdraws the runtime, names itself, and is offered again when it is back", async () => {
  const agent = newAgent();
  const version = await agent.probe();
  expect(version).toMatch(/^\d+\.\d+/);
  const left = await agent.prepare(await shell("true"), never);

  await engine.kill();
  expect(await agent.probe()).toBeUndefined();
  await expect(agent.prepare(await shell("true"), never)).rejects.toMatchObject(lost());
  await expect(left.start()).rejects.toMatchObject(lost());
  // Can't be removed now; done as soon as the engine answers.
  await left.cleanup();

  await engine.start();
  expect(await docker(engine.socketPath, "ps", "-aq")).not.toBe("");
  expect(await agent.probe()).toBe(version as string);
  expect(await docker(engine.socketPath, "ps", "-aq")).toBe("");
  const context = await shell("echo back");
  const prepared = await agent.prepare(context, never);
  expect((await (await prepared.start()).exit).exitCode).toBe(0);
  expect(context.output.text("stdout")).toBe("back\n");
  await prepared.cleanup();
});

test("what runs while the engine is away goes on, and its output has no gap", async () => {
  const go = join(workDir, "go");
  const context = await shell(
    "echo before; until [ -e go ]; do usleep 1000; done; echo meanwhile; rm go; " +
      "until [ -e go ]; do usleep 1000; done; echo after; exit 3",
  );
  const agent = newAgent();
  const prepared = await agent.prepare(context, never);
  const running = await prepared.start();
  await context.output.holds("stdout", "before\n");
  await engine.kill();
  await writeFile(go, "");
  await engine.start();
  await context.output.holds("stdout", "meanwhile\n");
  await writeFile(go, "");
  expect((await running.exit).exitCode).toBe(3);
  expect(context.output.text("stdout")).toBe("before\nmeanwhile\nafter\n");
  await prepared.cleanup();
  await rm(go);
});

test("a stop that the engine misses is made up for", async () => {
  const context = await shell("trap '' TERM; echo ready; while :; do usleep 1000; done");
  const agent = newAgent();
  const prepared = await agent.prepare(context, never);
  const running = await prepared.start();
  await context.output.holds("stdout", "ready");
  await engine.kill();
  const stopped = running.stop(0);
  await engine.start();
  await stopped;
  expect((await running.exit).signal).toBe("SIGKILL");
  await prepared.cleanup();
});

test("an engine that stays away is given up, and what ran is removed when it is back", async () => {
  const agent = newAgent(100);
  const prepared = await agent.prepare(await shell("sleep 1000"), never);
  const running = await prepared.start();
  await engine.kill();
  await expect(running.exit).rejects.toMatchObject(lost());
  await prepared.cleanup();
  await expect(agent.reap(running.handle)).rejects.toMatchObject(lost());
  await engine.start();
  await agent.probe();
  expect(await docker(engine.socketPath, "ps", "-aq")).toBe("");
});

test("a closed agent follows nothing any more and leaves the container to its successor", async () => {
  const context = await shell("echo ready; until [ -e go ]; do usleep 1000; done; exit 6");
  const agent = newAgent();
  const prepared = await agent.prepare(context, never);
  const running = await prepared.start();
  await context.output.holds("stdout", "ready");
  await agent[Symbol.asyncDispose]();
  await expect(running.exit).rejects.toMatchObject({ failure: { code: "agent_closed" } });

  const successor = newAgent();
  const kept = { stdout: context.output.bytes("stdout").byteLength, stderr: 0 };
  const adopted = await successor.adopt(running.handle, { ...context, kept });
  await writeFile(join(workDir, "go"), "");
  expect((await adopted?.exit)?.exitCode).toBe(6);
  await successor.reap(running.handle);
  expect(context.output.text("stdout")).toBe("ready\n");
});
