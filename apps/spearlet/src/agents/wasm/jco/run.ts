/** The `jco` engine: runs what `transpile.ts` made, on our own host of WASI 0.2. Runs in the child. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { BadModule, failureOf } from "../failures.ts";
import { capMemory } from "../module.ts";
import { Preview2 } from "../preview2/host.ts";
import type { Result, RunJob } from "../protocol.ts";
import { reachOnly } from "../system/landlock.ts";
import { manifestFile, type Manifest } from "./artifact.ts";

interface Entry {
  instantiate(
    getCoreModule: (name: string) => WebAssembly.Module,
    imports: Record<string, unknown>,
    instantiateCore: (
      module: WebAssembly.Module,
      imports: Bun.WebAssembly.Imports,
    ) => WebAssembly.Instance,
  ): Record<string, unknown>;
}

/** The imports that the manifest names. Throws `BadModule` for those that no one has. */
function importsOf({ imports }: Manifest, host: Preview2): Record<string, unknown> {
  const found = imports.map((name) => [name, host.find(name)] as const);
  const missing = found.filter(([, value]) => value === undefined).map(([name]) => name);
  if (missing.length > 0) {
    throw new BadModule("missing_import", `the component imports ${missing.join(", ")}`);
  }
  return Object.fromEntries(found);
}

/** The function that runs the guest: `wasi:cli/run`. */
function commandOf(exports: Record<string, unknown>): () => void {
  const { run } = (exports["run"] ?? {}) as { run?: unknown };
  if (typeof run === "function") return run as () => void;
  throw new BadModule(
    "invalid_module",
    "the component does not export wasi:cli/run, so there is nothing to run",
  );
}

/** The component's core modules by the names of their files, each with its memory bounded. */
function coreModules({ module: folder, memoryBytes }: RunJob): Map<string, WebAssembly.Module> {
  const names = readdirSync(folder).filter((name) => name.endsWith(".wasm"));
  return new Map(
    names.map((name) => {
      const bytes = capMemory(readFileSync(join(folder, name)), memoryBytes);
      return [name, new WebAssembly.Module(bytes)];
    }),
  );
}

function refuse(name: string): never {
  throw new BadModule("invalid_module", `the component has no core module ${name}`);
}

/** The way of the bindings to say that the guest's own result was an error. */
function isGuestError(error: unknown): boolean {
  return error instanceof Error && error.constructor.name === "ComponentError";
}

/** Runs the component in the job's folder to its end. */
export async function runJco(job: RunJob): Promise<Omit<Result, "cpuMs">> {
  using host = new Preview2({ ...job, stdin: Buffer.from(job.stdin, "base64") });
  const memories = new Set<WebAssembly.Memory>();
  const memoryBytes = () => [...memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  let end: Pick<Result, "exitCode" | "failure">;
  try {
    const text = readFileSync(join(job.module, manifestFile), "utf8");
    const manifest = JSON.parse(text) as Manifest;
    const imports = importsOf(manifest, host);
    const modules = coreModules(job);
    const entry = (await import(join(job.module, manifest.entry))) as Entry;
    reachOnly(host.directories());
    const exports = entry.instantiate(
      (name) => modules.get(name) ?? refuse(name),
      imports,
      (module, values) => {
        const instance = new WebAssembly.Instance(module, values);
        for (const value of Object.values(instance.exports)) {
          if (value instanceof WebAssembly.Memory) memories.add(value);
        }
        return instance;
      },
    );
    commandOf(exports)();
    end = { exitCode: 0 };
  } catch (error) {
    end = isGuestError(error)
      ? { exitCode: 1 }
      : { failure: failureOf(error, memoryBytes(), job.memoryBytes) };
  }
  if (host.exit !== undefined) end = { exitCode: host.exit.exitCode ?? 0 };
  return { ...end, ...host.written, memoryBytes: memoryBytes() };
}
