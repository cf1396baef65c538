/**
 * Makes the guests of the tests from their sources, and keeps what was made by
 * the hash of what it was made from. Needs Debian's clang, lld, wasi-libc and
 * libclang-rt-14-dev-wasm32 for those in C.
 */
import { createHash } from "node:crypto";
import { cp, mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { componentEmbed, componentNew, parse } from "@bytecodealliance/jco-transpile/wasm-tools";
import loadWabt from "wabt";
import { adapterPath } from "../jco/assets.ts";

const root = new URL("../../../../../../", import.meta.url).pathname;
const cache = join(root, "node_modules/.cache/spear-guests");
const here = import.meta.dir;

const taskFiles = join(root, "libs/task");
const clang = ["clang", "--target=wasm32-wasi", "--sysroot=/usr", "-O1", "-Wall", "-Werror"];
const assemblyScript = [
  process.execPath,
  join(fileURLToPath(import.meta.resolve("assemblyscript/package.json")), "../bin/asc.js"),
  "--config",
  // Relative to the repository: its own relative paths break below an absolute one.
  relative(root, fileURLToPath(import.meta.resolve("@assemblyscript/wasi-shim/asconfig.json"))),
  "--optimize",
];

/** Those that include spear.h. */
const hostGuests = new Set(["hostcalls.c", "replayed.c"]);

/** Path of a guest of this folder, as "report.c" or "words.as", made into a module. */
export async function guest(name: string): Promise<string> {
  const source = join(here, name);
  if (name.endsWith(".c")) {
    const header = await readFile(join(here, "preview1/guest.h"), "utf8");
    if (!hostGuests.has(name)) {
      return made(source, [...clang, header], (out) => [...clang, "-o", out, source]);
    }
    const spear = await readFile(join(taskFiles, "c/spear.h"), "utf8");
    const withHost = [...clang, `-I${join(taskFiles, "c")}`];
    return made(source, [...clang, spear], (out) => [...withHost, "-o", out, source]);
  }
  return made(source, assemblyScript, async (out) => {
    // Its compiler insists on an ending that this repository's own checks would stumble over.
    const copy = `${out}.ts`;
    await cp(source, copy);
    return [...assemblyScript, copy, "-o", out];
  });
}

/** What `command` makes of a source, from the cache if it was made before. */
async function made(
  source: string,
  ingredients: readonly string[],
  command: (out: string) => string[] | Promise<string[]>,
): Promise<string> {
  const text = await readFile(source, "utf8");
  const hash = createHash("sha256")
    .update(JSON.stringify([text, ingredients]))
    .digest("hex");
  const path = join(cache, `${basename(source)}-${hash.slice(0, 32)}.wasm`);
  if (await Bun.file(path).exists()) return path;
  const scratch = join(cache, `${process.pid}-${Bun.randomUUIDv7()}`);
  await mkdir(scratch, { recursive: true });
  try {
    const out = join(scratch, "out.wasm");
    const built = Bun.spawn(await command(out), { cwd: root, stdout: "ignore", stderr: "pipe" });
    const said = await new Response(built.stderr).text();
    if ((await built.exited) !== 0) throw new Error(`can't make ${source}:\n${said}`);
    await rename(out, path);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return path;
}

/** Writes a guest of this folder as a component of WASI 0.2 to `path`. */
export async function writeComponent(path: string, name: string): Promise<string> {
  const module = await readFile(await guest(name));
  const adapter = await readFile(adapterPath);
  await writeFile(path, await componentNew(module, [["wasi_snapshot_preview1", adapter]]));
  return path;
}

/** The same for a guest that imports `spear:host`. */
export async function writeHostComponent(path: string, name: string): Promise<string> {
  const embedded = await componentEmbed({
    binary: await readFile(await guest(name)),
    witSource: await readFile(join(taskFiles, "wit/host.wit"), "utf8"),
    world: "guest",
  });
  const adapter = await readFile(adapterPath);
  await writeFile(path, await componentNew(embedded, [["wasi_snapshot_preview1", adapter]]));
  return path;
}

/** Writes a component given in the text format to `path`. */
export async function writeComponentText(path: string, text: string): Promise<string> {
  await writeFile(path, await parse(text));
  return path;
}

/**
 * Puts this folder's preview1 tests into `folder`, in the public suite's format:
 * all, or those of these names.
 */
export async function makeSuite(folder: string, only?: readonly string[]): Promise<void> {
  const sources = join(here, "preview1");
  const wanted = (name: string) =>
    only === undefined || name.endsWith(".dir") || only.includes(name.replace(/\.\w+$/, ""));
  const names = (await readdir(sources)).filter(wanted);
  await mkdir(folder, { recursive: true });
  await Promise.all(
    names.map(async (name) => {
      const target = join(folder, name);
      if (name.endsWith(".c")) {
        await cp(await guest(`preview1/${name}`), target.replace(/\.c$/, ".wasm"));
      } else if (!name.endsWith(".h")) await cp(join(sources, name), target, { recursive: true });
    }),
  );
}

let wabt: ReturnType<typeof loadWabt> | undefined;

/** Writes a module given in the text format to `path`. */
export async function writeWat(path: string, text: string): Promise<string> {
  wabt ??= loadWabt();
  const features = { exceptions: true, bulk_memory: true, reference_types: true, memory64: true };
  const parsed = (await wabt).parseWat(basename(path), text, features);
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, parsed.toBinary({}).buffer);
  } finally {
    parsed.destroy();
  }
  return path;
}
