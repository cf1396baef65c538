/** `spear demo`: real counts, checked by the tools that are meant to make them. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { environment, processesWith, spear, spearCommand, until } from "./spear.ts";

// Whole clusters start here; on a loaded machine that takes its time.
setDefaultTimeout(120_000);

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-demo-test-"));
});
afterAll(() => rm(directory, { recursive: true }));

/** The demo's own directories lie here, so that what is left of them is seen. */
const env = () => ({ TMPDIR: directory });

test("the counts are those of tr, sort and uniq over the same text, and nothing stays", async () => {
  const saved = join(directory, "saved");
  const ended = await spear(["demo", "--save", saved], { env: env() });
  expect(ended.stderr).toContain("the counts were read back from the store and are right");
  expect(ended.code).toBe(0);

  const pipeline =
    "tr -cs A-Za-z '\\n' <corpus.txt | tr A-Z a-z | sed '/^$/d' | sort | uniq -c | " +
    "awk '{ print $1, $2 }' | sort -k1,1nr -k2,2";
  const counted = Bun.spawnSync(["sh", "-c", pipeline], {
    cwd: saved,
    env: environment({ LC_ALL: "C" }),
  });
  const result = await readFile(join(saved, "counts.txt"), "utf8");
  expect(result).toBe(counted.stdout.toString());
  expect(result.length).toBeGreaterThan(10_000);

  const [count, word] = (result.split("\n")[0] ?? "").split(" ");
  expect(ended.stdout).toMatch(new RegExp(`^  ${word} +${count}  #+$`, "m"));
  // Each node ran some, and everything is where the store says.
  for (const line of ["node-1", "node-2", "merge", "demo/counts.txt", "demo/parts/7.txt"]) {
    expect(ended.stdout).toContain(line);
  }
  await rm(saved, { recursive: true });
  expect(processesWith(directory)).toEqual(new Map());
  expect(await Array.fromAsync(new Bun.Glob("**").scan(directory))).toEqual([]);
});

test("a Redis of one's own is left as it was", async () => {
  const url = process.env["SPEAR_TEST_REDIS"] ?? "";
  const ended = await spear(["demo", "--redis", url, "-o", "json"], { env: env() });
  expect(ended.code).toBe(0);
  const summary = JSON.parse(ended.stdout) as { words: number; tasks: { state: string }[] };
  expect(summary.words).toBeGreaterThan(100_000);
  expect(summary.tasks).toHaveLength(9);
  expect(new Set(summary.tasks.map(({ state }) => state))).toEqual(new Set(["succeeded"]));
  const redis = new Redis(url);
  try {
    expect(await redis.keys("{demo-*")).toEqual([]);
  } finally {
    redis.disconnect();
  }
});

test("Ctrl-C ends it early and removes everything", async () => {
  const child = Bun.spawn(spearCommand("demo"), {
    env: environment(env()),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  await until("nodes to start", () => {
    const commands = [...processesWith(directory).values()];
    return commands.some((command) => command.includes("--name=node-2")) || undefined;
  });
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
  expect(processesWith(directory)).toEqual(new Map());
  expect(await Array.fromAsync(new Bun.Glob("**").scan(directory))).toEqual([]);
});
