/** The tour in README.md, run line by line as a reader would. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { repository, spearCommand, startDev, type Dev } from "./spear.ts";

// A whole cluster starts here; on a loaded machine that takes its time.
setDefaultTimeout(120_000);

let dev: Dev;
beforeAll(async () => {
  dev = await startDev(["--nodes", "2"]);
});
afterAll(() => dev[Symbol.asyncDispose]());

test("every line of the tour works", async () => {
  const readme = await readFile(join(repository, "README.md"), "utf8");
  const tour = /```sh\n([\s\S]*?)```/.exec(readme)?.[1] ?? "";
  expect(tour.trim().split("\n")).toHaveLength(10);
  // The launcher has its own test; here its command line is enough.
  const quoted = spearCommand().map((word) => `'${word}'`);
  const script = `set -e\n${tour.replaceAll("./spear", quoted.join(" "))}`;
  const shell = Bun.spawn(["sh", "-c", script], {
    cwd: repository,
    env: { ...process.env, ...dev.env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    shell.stdout.text(),
    shell.stderr.text(),
    shell.exited,
  ]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stdout).toContain("hello from /");
  expect(stdout).toContain("exited with 2, as the task did");
  expect(stdout).toContain("sleeper");
  const licence = await readFile(join(repository, "LICENSE"), "utf8");
  expect(stdout).toContain(`\n${licence.split(/\s+/).filter((word) => word !== "").length}\n`);
  expect(stdout).toContain("node-2");
});
