/**
 * The `direct` engine: a WASI preview1 core module on our own host. Runs in the
 * child; blocking, since nothing else goes on there.
 */
import { readFileSync } from "node:fs";
import { BadModule, failureOf } from "./failures.ts";
import { capMemory, pageBytes } from "./module.ts";
import { Preview1 } from "./preview1/host.ts";
import { reachOnly } from "./system/landlock.ts";
import type { Result, RunJob } from "./protocol.ts";

type Imports = ReturnType<Preview1["imports"]>;

/** Throws `BadModule` for imports that no host of ours has. */
function checkImports(module: WebAssembly.Module, imports: Imports): void {
  const missing = WebAssembly.Module.imports(module)
    .filter(
      ({ module: from, name, kind }) =>
        kind !== "function" ||
        !Object.hasOwn(imports, from) ||
        !Object.hasOwn(imports[from] ?? {}, name),
    )
    .map(({ module: from, name, kind }) => `${from}.${name} (${kind})`);
  if (missing.length === 0) return;
  const shown = missing.slice(0, 8).join(", ");
  const more = missing.length > 8 ? ` and ${missing.length - 8} more` : "";
  throw new BadModule("missing_import", `the module imports ${shown}${more}`);
}

/** The function that runs the guest: a command's `_start`. */
function entryOf(exports: WebAssembly.Instance["exports"]): () => void {
  const start = exports["_start"];
  if (typeof start === "function") return start as () => void;
  const kind = "_initialize" in exports ? "a library: it exports _initialize but no" : "without";
  throw new BadModule("invalid_module", `the module is ${kind} _start, so there is nothing to run`);
}

/** Runs the job's guest to its end; its bytes can be given if they were read already. */
export function runDirect(job: RunJob, given?: Uint8Array): Omit<Result, "cpuMs"> {
  using wasi = new Preview1({ ...job, stdin: Buffer.from(job.stdin, "base64") });
  let end: Pick<Result, "exitCode" | "signal" | "failure">;
  try {
    const module = new WebAssembly.Module(
      capMemory(given ?? readFileSync(job.module), job.memoryBytes),
    );
    if (!job.reuse) reachOnly(wasi.directories());
    const imports = wasi.imports();
    checkImports(module, imports);
    const instance = new WebAssembly.Instance(module, imports);
    const { memory } = instance.exports;
    if (memory instanceof WebAssembly.Memory) wasi.memory.bind(memory);
    entryOf(instance.exports)();
    end = { exitCode: 0 };
  } catch (error) {
    end = { failure: failureOf(error, wasi.memory.size, job.memoryBytes) };
  }
  if (wasi.exit !== undefined) {
    const { exitCode, signal } = wasi.exit;
    end = signal === undefined ? { exitCode: exitCode ?? 0 } : { signal };
  }
  return { ...end, ...wasi.written, memoryBytes: wasi.memory.size };
}

/**
 * A guest that writes nothing to standard output and ends:
 *
 *     (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
 *     (memory (export "memory") 1)
 *     (func (export "_start")
 *       (drop (call 0 (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 8))))
 */
const smallest =
  "AGFzbQEAAAABDAJgBH9/f38Bf2AAAAIjARZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxCGZkX3dyaXRlAAADAgEBBQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAEKDwENAEEBQQBBAEEIEAAaCw==";

/** Runs the smallest guest a few times, so that the first real one finds everything in place. */
export function warmUp(): void {
  const job: RunJob = {
    task: "run",
    module: "",
    engine: "direct",
    args: [""],
    env: {},
    stdin: "",
    preopens: [{ guest: "/", host: "/", readOnly: true }],
    memoryBytes: pageBytes,
    reuse: true,
  };
  for (let times = 0; times < 3; times++) runDirect(job, Buffer.from(smallest, "base64"));
}
