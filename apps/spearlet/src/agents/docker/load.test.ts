/** Images that come as objects: archives as `docker save` writes them, and others. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cp, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { docker, sharedDocker, type TestDocker } from "../../../../../tests/docker.ts";
import { imageNames } from "./archive.ts";
import { DockerAgent } from "./docker.ts";
import { newAttempt } from "./testing.ts";

const never = new AbortController().signal;
const name = `spear-load-${crypto.randomUUID().slice(0, 8)}`;
let engine: TestDocker;
let dir: string;
let agent: DockerAgent;

const run = (...args: string[]) => docker(engine.socketPath, ...args);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "spear-load-"));
  engine = await sharedDocker();
  agent = new DockerAgent({
    nodeId: systemIds.next("node"),
    socketPath: engine.socketPath,
    fetchObject: (object, path) => cp(join(dir, object.slice("images/".length)), path),
    log: silentLog,
  });
  await run("tag", engine.image, `${name}:1`);
  await run("tag", engine.image, `${name}:2`);
  await run("save", "-o", join(dir, "one.tar"), `${name}:1`);
  await run("save", "-o", join(dir, "two.tar"), `${name}:1`, `${name}:2`);
  await run("image", "rm", `${name}:1`, `${name}:2`);
});

afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await run("image", "rm", `${name}:1`);
  await engine[Symbol.asyncDispose]();
  await rm(dir, { recursive: true });
});

async function refusal(image: string, load: string, by = agent) {
  const context = await newAttempt(image, ["true"], { docker: { load } });
  const error: unknown = await by.prepare(context, never).catch((thrown: unknown) => thrown);
  await rm(context.workDir, { recursive: true });
  return (error as { failure?: { code: string; message: string } }).failure;
}

test("an archive that gives other names, or is none, is refused before the engine sees it", async () => {
  expect(await refusal(`${name}:1`, "images/two.tar")).toEqual({
    code: "invalid_image",
    message: `the image archive also holds ${name}:2`,
  });
  expect((await refusal(`${name}:3`, "images/one.tar"))?.message).toContain(`${name}:1`);
  await writeFile(join(dir, "none.tar"), "no tar at all");
  expect((await refusal(`${name}:1`, "images/none.tar"))?.code).toBe("invalid_image");
  expect(await run("images", "-q", name)).toBe("");
  expect([...(await imageNames(join(dir, "two.tar")))].toSorted()).toEqual([
    `${name}:1`,
    `${name}:2`,
  ]);
});

test("a node that loads none says so", async () => {
  await using strict = new DockerAgent({
    nodeId: systemIds.next("node"),
    socketPath: engine.socketPath,
    log: silentLog,
  });
  expect((await refusal(`${name}:1`, "images/one.tar", strict))?.code).toBe("load_not_allowed");
});

test("an image is loaded where it is missing, and runs", async () => {
  for (const said of [`loading ${name}:1 from images/one.tar\nloaded ${name}:1\n`, ""]) {
    const load = { load: "images/one.tar" };
    const context = await newAttempt(`${name}:1`, ["echo", "loaded"], { docker: load });
    const prepared = await agent.prepare(context, never);
    expect((await (await prepared.start()).exit).exitCode).toBe(0);
    await prepared.cleanup();
    expect(context.output.text("stdout")).toBe("loaded\n");
    expect(context.output.text("system")).toBe(said);
    await rm(context.workDir, { recursive: true });
  }
  const left = (await readdir(tmpdir())).filter((entry) => entry.endsWith(".image"));
  expect(left).toEqual([]);
});
