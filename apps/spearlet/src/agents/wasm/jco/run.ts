/** The `jco` engine: runs what `transpile.ts` made, on our own host of WASI 0.2. Runs in the child. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BadModule, failureOf } from "../failures.ts";
import { capMemory } from "../module.ts";
import { Preview2 } from "../preview2/host.ts";
import type { Result, RunJob } from "../protocol.ts";
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
    const read = (name: string) => readFileSync(join(job.module, name));
    const manifest = JSON.parse(read(manifestFile).toString("utf8")) as Manifest;
    const imports = importsOf(manifest, host);
    const entry = (await import(join(job.module, manifest.entry))) as Entry;
    const exports = entry.instantiate(
      (name) => new WebAssembly.Module(capMemory(read(name), job.memoryBytes)),
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
