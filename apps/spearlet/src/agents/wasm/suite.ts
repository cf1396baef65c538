/**
 * Runs a folder in the format of the public WASI test suite through the
 * WasmAgent: `NAME.wasm` or `NAME.wat` beside an optional `NAME.json` with args, env, dirs or
 * root, exit_code, stdout and stderr. Each test gets copies of its directories.
 */
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { check } from "@spear/shared/check.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { Type, type Static } from "@sinclair/typebox";
import type { AgentExit, AttemptContext } from "../agent.ts";
import type { Preopen } from "./guest.ts";
import { WasmAgent } from "./wasm.ts";

export type Engine = "jco" | "direct";

const manifest = Type.Object({
  args: Type.Optional(Type.Array(Type.String())),
  env: Type.Optional(Type.Record(Type.String(), Type.String())),
  /** Directories beside the file, each under its own name. */
  dirs: Type.Optional(Type.Array(Type.String())),
  /** A directory beside the file, as "/". */
  root: Type.Optional(Type.String()),
  exit_code: Type.Optional(Type.Integer()),
  stdout: Type.Optional(Type.String()),
  stderr: Type.Optional(Type.String()),
});
type Manifest = Static<typeof manifest>;

export interface TestOutcome {
  /** Path of the test below the folder, without its ending. */
  name: string;
  /** Why it failed; absent if it passed. */
  failure?: string;
}

const ending = /\.wa(?:sm|t)$/;
const testTimeoutMs = 60_000;
const parallel = 2;
/** How a file is named as an object. */
const bucket = "suite/";
const memoryBytes = 1024 ** 3;

async function readManifest(path: string): Promise<Manifest> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch {
    return {};
  }
  return check(manifest, JSON.parse(text), basename(path));
}

/** Copies of a test's directories below `into`, without what an earlier run left in them. */
async function copyDirectories(from: string, into: string, wanted: Manifest): Promise<Preopen[]> {
  const { dirs = [], root } = wanted;
  const pairs = dirs.map((dir) => ({ dir, guest: dir }));
  if (root !== undefined) pairs.push({ dir: root, guest: "/" });
  return Promise.all(
    pairs.map(async ({ dir, guest }, index) => {
      const host = join(into, String(index));
      await mkdir(host);
      await cp(join(from, dir), host, {
        recursive: true,
        filter: (path) => !path.endsWith(".cleanup"),
      }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
      });
      return { host, guest, readOnly: false };
    }),
  );
}

/** The test's module as bytes in a file; one that is text is made into that. */
async function moduleOf(file: string, into: string): Promise<string> {
  if (file.endsWith(".wasm")) return file;
  // Only here: it takes long to load.
  const { parse } = await import("@bytecodealliance/jco-transpile/wasm-tools");
  const path = join(into, "module.wasm");
  await writeFile(path, await parse(await readFile(file, "utf8")));
  return path;
}

/** What is wrong with how a test ended. */
function judge(wanted: Manifest, exit: AgentExit, output: Record<string, string>) {
  const expected = wanted.exit_code ?? 0;
  if (exit.failure !== undefined) return `${exit.failure.code}: ${exit.failure.message}`;
  if (exit.exitCode !== expected) {
    const last = (output["stderr"] ?? "").trim().split("\n").slice(-3).join(" | ");
    return `exit code ${exit.exitCode ?? exit.signal} instead of ${expected}: ${last}`;
  }
  for (const stream of ["stdout", "stderr"] as const) {
    const text = wanted[stream];
    if (text === undefined || text === output[stream]) continue;
    return `${stream} is ${JSON.stringify(output[stream])} instead of ${JSON.stringify(text)}`;
  }
  return undefined;
}

class Suite {
  readonly #folder: string;
  readonly #engine: Engine;
  readonly #scratch: string;
  readonly #agent: WasmAgent;
  /** Files of the modules by their objects. */
  readonly #modules = new Map<string, string>();
  readonly #preopens = new Map<AttemptContext["spec"], Preopen[]>();

  constructor(folder: string, engine: Engine, scratch: string) {
    this.#folder = folder;
    this.#engine = engine;
    this.#scratch = scratch;
    this.#agent = new WasmAgent({
      cacheDir: join(scratch, "cache"),
      fetchModule: async (object) => {
        const path = this.#modules.get(object) ?? "";
        const sha256 = new Bun.CryptoHasher("sha256").update(await readFile(path)).digest("hex");
        return { path, sha256 };
      },
      preopens: ({ spec }) => this.#preopens.get(spec) ?? [],
    });
  }

  async run(file: string): Promise<TestOutcome> {
    const name = relative(this.#folder, file).replace(ending, "");
    const directory = await mkdtemp(join(this.#scratch, "test-"));
    try {
      const failure = await this.#execute(file, name, directory);
      return { name, ...(failure === undefined ? {} : { failure }) };
    } catch (error) {
      return { name, failure: error instanceof Error ? error.message : String(error) };
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  async #execute(file: string, name: string, directory: string): Promise<string | undefined> {
    const wanted = await readManifest(file.replace(ending, ".json"));
    const object = `${bucket}${name}.wasm`;
    this.#modules.set(object, await moduleOf(file, directory));
    const output: Record<string, string> = { stdout: "", stderr: "", system: "" };
    const spec = {
      wasm: { module: object, args: wanted.args ?? [], engine: this.#engine },
    };
    this.#preopens.set(spec, await copyDirectories(dirname(file), directory, wanted));
    const context: AttemptContext = {
      taskId: systemIds.next("task"),
      attempt: 1,
      spec,
      workDir: directory,
      env: wanted.env ?? {},
      stdin: new Uint8Array(0),
      output: {
        write: (stream, bytes) => {
          output[stream] += Buffer.from(bytes).toString("utf8");
          return Promise.resolve();
        },
      },
      limits: { cpu: 1, memoryBytes, pids: undefined },
    };
    const prepared = await this.#agent.prepare(context, AbortSignal.timeout(testTimeoutMs));
    try {
      const running = await prepared.start();
      const slow = setTimeout(() => void running.stop(0), testTimeoutMs);
      const exit = await running.exit;
      clearTimeout(slow);
      return judge(wanted, exit, output);
    } finally {
      await prepared.cleanup();
      this.#preopens.delete(spec);
    }
  }

  close(): Promise<void> {
    return this.#agent[Symbol.asyncDispose]();
  }
}

/** Runs every test below `folder`, in the order of their names; `each` hears of each as it ends. */
export async function runSuite(
  folder: string,
  engine: Engine,
  each: (outcome: TestOutcome) => void = () => undefined,
): Promise<TestOutcome[]> {
  const entries = await readdir(folder, { recursive: true });
  const files = entries.filter((path) => ending.test(path)).toSorted();
  const scratch = await mkdtemp(join(tmpdir(), "spear-wasi-"));
  const suite = new Suite(folder, engine, scratch);
  const outcomes: TestOutcome[] = [];
  let next = 0;
  const work = async () => {
    for (let at = next++; at < files.length; at = next++) {
      const outcome = await suite.run(join(folder, files[at] ?? ""));
      outcomes[at] = outcome;
      each(outcome);
    }
  };
  try {
    await Promise.all(Array.from({ length: parallel }, work));
    return outcomes;
  } finally {
    await suite.close();
    await rm(scratch, { recursive: true, force: true });
  }
}
