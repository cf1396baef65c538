/**
 * `bun run check`: everything that can be said of the repository without running
 * it. All steps run at the same time; each prints one line when it is done, and
 * what it found if that is not nothing. `bun run check types lint` runs some.
 */
import { Glob } from "bun";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generate, generated } from "./generate.ts";
import { brokenRules } from "./source-rules.ts";
import { root, tool } from "./tools.ts";

/** Name → what is wrong, or an empty string. */
const steps: Record<string, () => Promise<string>> = {
  format: () => clean("oxfmt", ["--check", "."]),
  types: () => clean("tsc", ["--noEmit", "--pretty", "false", "-p", "."]),
  lint: () => clean("oxlint", ["--type-aware", "--deny-warnings", "--format", "unix"]),
  unused: () => clean("knip", ["--no-progress"]),
  proto: () => clean("buf", ["lint"], join(root, "libs/proto")),
  generated: drift,
  rules: () => brokenRules(root),
};

async function clean(name: string, args: string[], cwd = root): Promise<string> {
  const { exitCode, output } = await tool(name, args, cwd);
  return exitCode === 0 ? "" : output || `${name} ended with exit code ${exitCode}`;
}

/** Content by path of the generated files below a directory. */
async function contents(directory: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const part of generated) {
    const pattern = /\.\w+$/.test(part) ? part : `${part}/**/*`;
    for await (const path of new Glob(pattern).scan({ cwd: directory })) {
      files.set(path, await readFile(join(directory, path), "base64"));
    }
  }
  return files;
}

/** Generates again, beside, and compares with what is committed. */
async function drift(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "spear-generated-"));
  try {
    await generate(directory);
    const [fresh, committed] = await Promise.all([contents(directory), contents(root)]);
    const paths = new Set([...fresh.keys(), ...committed.keys()]);
    const stale = [...paths].filter((path) => fresh.get(path) !== committed.get(path));
    if (stale.length === 0) return "";
    return ["not what `bun run generate` makes:", ...stale.toSorted()].join("\n  ");
  } finally {
    await rm(directory, { recursive: true });
  }
}

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !(name in steps));
if (unknown !== undefined) {
  console.error(`no step ${unknown}; there are ${Object.keys(steps).join(", ")}`);
  process.exit(2);
}

const chosen = Object.entries(steps).filter(
  ([name]) => wanted.length === 0 || wanted.includes(name),
);
const outcomes = await Promise.all(
  chosen.map(async ([name, run]) => {
    const startedMs = performance.now();
    const found = await run().catch((error: unknown) => String(error));
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    console.log(`${found === "" ? "ok  " : "FAIL"} ${name.padEnd(10)} ${seconds.padStart(5)} s`);
    if (found !== "") console.log(found.replaceAll(/^(?=.)/gm, "     "));
    return found === "";
  }),
);
if (outcomes.includes(false)) process.exitCode = 1;
