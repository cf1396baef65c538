/**
 * Makes JavaScript and core modules of a component, with jco. Runs in a child:
 * a guest's bytes are never given to a compiler in the agent's own process (S1).
 * jco itself is loaded when it is needed, since that costs half a second.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BadModule } from "../failures.ts";
import { kindOf, renameImport } from "../module.ts";
import { processInterface } from "../preview2/host.ts";
import { adapterPath, toolPaths } from "./assets.ts";
import { entryFile, manifestFile, type Manifest } from "./artifact.ts";

/** The one import that jco's adapter would not pass on exactly: it knows only success and failure. */
const exit = {
  from: { module: "wasi_snapshot_preview1", name: "proc_exit" },
  to: { module: processInterface, name: "proc-exit" },
};
const exitWorld = `package spear:guest;
interface process { proc-exit: func(code: u32); }
world guest { import process; }`;

/** A core module as a component of WASI 0.2. */
async function adapt(module: Uint8Array): Promise<Uint8Array> {
  const { componentEmbed, componentNew } =
    await import("@bytecodealliance/jco-transpile/wasm-tools");
  const embedded = await componentEmbed({
    binary: renameImport(module, exit.from, exit.to),
    witSource: exitWorld,
    world: "guest",
  });
  return componentNew(embedded, [["wasi_snapshot_preview1", readFileSync(adapterPath)]]);
}

/** What jco's tools say is wrong, without their own stack. */
function complaint(error: unknown): BadModule {
  const said = error instanceof Error ? error.message : String(error);
  const missing = /failed to resolve import|unknown import|missing/i.test(said);
  const message = said.replaceAll(/\s+/g, " ").trim().slice(0, 2000);
  return new BadModule(missing ? "missing_import" : "invalid_module", message);
}

/** Writes what `run.ts` needs for the module into `folder`. Throws `BadModule`. */
export async function transpile(module: string, folder: string): Promise<void> {
  for (const path of toolPaths) {
    if (!existsSync(path)) throw new Error(`jco is not whole: ${path} is missing`);
  }
  const { $init, generate } = await import("@bytecodealliance/jco-transpile/component");
  await $init;
  const bytes = readFileSync(module);
  let made: ReturnType<typeof generate>;
  try {
    made = generate(kindOf(bytes) === "core" ? await adapt(bytes) : bytes, {
      name: "component",
      instantiation: { tag: "sync" },
      noTypescript: true,
      noNodejsCompat: true,
      base64Cutoff: 0,
      noNamespacedExports: true,
    });
  } catch (error) {
    throw complaint(error);
  }
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of made.files) writeFileSync(join(folder, name), content);
  const manifest: Manifest = { entry: entryFile, imports: made.imports };
  writeFileSync(join(folder, manifestFile), JSON.stringify(manifest));
}
