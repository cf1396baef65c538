/**
 * The JavaScript engine as a component with an empty slot for a script. Making it
 * takes half a minute and tools of 380 MB, which is why neither is part of an
 * installation: the first build on a machine fetches the tools, makes it and keeps
 * it; every other build takes the file from the cache.
 */
import { createHash } from "node:crypto";
import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { slotBytes, slotFill, slotMark } from "./slot.ts";
import manifest from "./tools.json" with { type: "json" };
import lock from "./tools.lock.txt" with { type: "text" };
import world from "./world.wit" with { type: "text" };

/** Run by Bun where the tools are: SCRIPT WORLD OUT. */
const componentize = `
import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";
const [script, world, out] = process.argv.slice(2);
const { component } = await componentize(await readFile(script, "utf8"), {
  witWorld: await readFile(world, "utf8"),
  worldName: "script",
  // Tasks have no network but what hostcalls grant.
  disableFeatures: ["http", "fetch-event"],
});
await writeFile(out, component);`;

/** How much of what a tool said is passed on. */
const mostWords = 4_000;

/** Where engines are kept: `XDG_CACHE_HOME` or `~/.cache`. */
export function cacheFolder(): string {
  const base = process.env["XDG_CACHE_HOME"] ?? "";
  return join(base === "" ? join(homedir(), ".cache") : base, "spear");
}

/** The runner as JavaScript that knows its slot. */
async function runnerScript(): Promise<string> {
  const source = (await import("./runner.ts", { with: { type: "text" } })) as unknown as {
    default: string;
  };
  const define = {
    SLOT_BYTES: String(slotBytes),
    SLOT_FILL: String(slotFill),
    SLOT_MARK: JSON.stringify(slotMark),
  };
  return new Bun.Transpiler({ loader: "ts", define }).transformSync(source.default);
}

/** Runs this very executable as Bun. Throws `unavailable` with what it said. */
async function bun(cwd: string, args: readonly string[]): Promise<void> {
  const child = Bun.spawn([process.execPath, ...args], {
    cwd,
    env: { ...process.env, BUN_BE_BUN: "1" },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const said = await new Response(child.stderr).text();
  if ((await child.exited) === 0) return;
  throw new Fault("unavailable", `can't make the JavaScript engine: ${args[0]} failed`, {
    help: said.trim().slice(-mostWords),
  });
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

/**
 * Path of the engine, made if this machine has not made it before; `onMaking` is
 * called before that. Throws `unavailable` if the tools can't be fetched or fail.
 */
export async function engine(onMaking: () => void, cache = cacheFolder()): Promise<string> {
  const script = await runnerScript();
  const hash = createHash("sha256")
    .update(JSON.stringify([script, world, lock, componentize]))
    .digest("hex")
    .slice(0, 16);
  const path = join(cache, `engine-${hash}.wasm`);
  if (await exists(path)) return path;
  onMaking();
  // A folder of one's own: two builds at once make it twice, and one of them counts.
  const scratch = join(cache, `making-${process.pid}`);
  await mkdir(scratch, { recursive: true });
  try {
    await writeFile(join(scratch, "package.json"), JSON.stringify(manifest));
    await writeFile(join(scratch, "bun.lock"), lock);
    await writeFile(join(scratch, "componentize.js"), componentize);
    await writeFile(join(scratch, "runner.js"), script);
    await writeFile(join(scratch, "world.wit"), world);
    await bun(scratch, ["install", "--frozen-lockfile", "--ignore-scripts"]);
    await bun(scratch, ["componentize.js", "runner.js", "world.wit", "engine.wasm"]);
    await rename(join(scratch, "engine.wasm"), path);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return path;
}
