/** The job files in examples/ run as their comments say, through the command line. */
import { isEnded, type Job } from "@spear/shared/job.ts";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Cluster } from "../programs.ts";

const root = join(import.meta.dir, "../..");
let cluster: Cluster;
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-job-examples-"));
  cluster = await Cluster.start({
    nodes: 2,
    store: true,
    spearlet: { runtimes: "process,mock", slots: 8, cpu: 8, memoryBytes: 2 ** 33 },
  });
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

interface Said {
  exitCode: number;
  stdout: string;
  stderr: string;
}

async function spear(...args: string[]): Promise<Said> {
  const child = Bun.spawn([process.execPath, join(root, "apps/cli/src/main.ts"), ...args], {
    cwd: directory,
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
  return { exitCode, stdout, stderr };
}

async function spearOk(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await spear(...args);
  if (exitCode !== 0) throw new Error(`spear ${args.join(" ")}: ${exitCode}\n${stdout}${stderr}`);
  return stdout;
}

const example = (name: string) => join(root, "examples/jobs", name);

test("map-reduce.yaml counts words", async () => {
  await spearOk("bucket", "create", "corpus");
  await spearOk("bucket", "create", "results");
  const parts = ["to be or not to be", "that is the question", "to be"];
  for (const [index, text] of parts.entries()) {
    const file = join(directory, `part-${index}.txt`);
    await writeFile(file, `${text}\n`);
    await spearOk("object", "put", file, `corpus/part-${index}.txt`);
  }
  const said = await spearOk("submit", example("map-reduce.yaml"), "-p", "parts=3", "--wait");
  expect(said).toContain("map-reduce  succeeded  succeeded 4");
  const counts = await spearOk("object", "get", "results/counts.txt", "-");
  expect(counts).toBe("3 be\n3 to\n1 is\n1 not\n1 or\n1 question\n1 that\n1 the\n");
});

test("sweep.yaml finds the best point", async () => {
  await spearOk("bucket", "create", "sweep");
  await spearOk("submit", example("sweep.yaml"), "-p", "points=10", "-p", "step=0.5", "--wait");
  expect(await spearOk("object", "get", "sweep/best.txt", "-")).toBe("0 2\n");
});

test("nightly.yaml sets a schedule", async () => {
  expect(await spearOk("submit", example("nightly.yaml"))).toStartWith("nightly comes next 20");
  expect(await spearOk("schedule", "ls")).toContain("nightly  0 3 * * * Europe/Berlin");
  await spearOk("schedule", "pause", "nightly");
  expect(await spearOk("schedule", "get", "nightly")).toContain("paused");
  await spearOk("schedule", "resume", "nightly");
  await spearOk("schedule", "rm", "nightly");
  expect((await spear("schedule", "get", "nightly")).exitCode).toBe(1);
});

test("a job is shown, listed, cancelled and rerun from the command line", async () => {
  const file = join(directory, "hang.json");
  const job = { name: "hang", tasks: { a: { mock: { hang: true }, replicas: 3 } } };
  await writeFile(file, JSON.stringify(job));
  const id = (await spearOk("submit", file, "--key", "hang-1")).trim();
  expect((await spearOk("submit", file, "--key", "hang-1")).trim()).toBe(id);
  expect(await spearOk("job", "ls", "--state", "running", "--state", "pending")).toContain(id);
  expect(await spearOk("job", "get", id)).toContain("hang");
  expect((await spearOk("job", "tasks", id)).split("\n")[1]).toContain("a-0");
  expect(await spearOk("job", "pause", id)).toBe(`${id} is paused\n`);
  await spearOk("job", "resume", id);
  await spearOk("job", "cancel", id);
  const waited = await spear("-o", "json", "job", "get", id, "--wait");
  expect(waited.exitCode).toBe(1);
  const last = JSON.parse(waited.stdout.trim().split("\n").at(-1) ?? "{}") as Job;
  expect(last).toMatchObject({ id, state: "cancelled", counts: { cancelled: 3 } });
  expect(isEnded(last.state)).toBe(true);
  const again = (await spearOk("job", "rerun", id, "--failed")).trim();
  expect(await spearOk("job", "get", again)).toContain(id);
  await spearOk("job", "cancel", again);
});

test("a wrong file is refused with the path in it", async () => {
  const file = join(directory, "wrong.yaml");
  await writeFile(file, "tasks:\n  a:\n    mock: {}\n    constraints: [nonsense]\n");
  expect(await spear("submit", file)).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("error: tasks.a.constraints.0: ") as string,
  });
  await writeFile(file, "tasks: { a: { mock: {}, dependsOn: [a] } }\n");
  expect((await spear("submit", file)).stderr).toContain("wait for each other: a → a");
  expect((await spear("submit", join(directory, "none.yaml"))).stderr).toContain("can't read");
});
