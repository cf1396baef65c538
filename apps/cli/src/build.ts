/** `spear build`: makes a component that runs as a task from TypeScript or JavaScript. */
import { stat, writeFile } from "node:fs/promises";
import { basename, extname, resolve } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import type { Command } from "commander";
import { withScript } from "./guest/slot.ts";
import { engine } from "./guest/toolchain.ts";
import { remark } from "./output.ts";
import { sessionOf } from "./session.ts";

export function addBuild(program: Command): void {
  program
    .command("build")
    .summary("make a WebAssembly component from TypeScript or JavaScript")
    .description(
      "Makes a WebAssembly component from a script and all that it imports.\n" +
        "The first build on a machine fetches and makes the JavaScript engine, which takes a\n" +
        "minute; every other one takes less than a second.",
    )
    .argument("<file>", "script, as app.ts")
    .option("-o, --out <file>", "where to write it (default: the script's name, with .wasm)")
    .addHelpText(
      "after",
      `
Example:
  spear build app.ts
  spear run --wasm app.wasm -- some arguments`,
    )
    .action(async (file: string, options: { out?: string }, command: Command) => {
      const out = options.out ?? `${basename(file, extname(file))}.wasm`;
      const bytes = await build(file);
      await writeFile(out, bytes).catch((error: unknown) => {
        throw new Fault("invalid_argument", `--out: can't write ${out}`, {
          field: "--out",
          cause: error,
        });
      });
      await sessionOf(command).output.done({ path: resolve(out), sizeBytes: bytes.length }, out);
    });
}

/** The component that a script makes. Throws `invalid_argument` with what is wrong in which line. */
export async function build(file: string, cache?: string): Promise<Uint8Array> {
  const script = await bundle(file);
  const making = () => remark("making the JavaScript engine for components, this once");
  const path = await engine(making, cache);
  return withScript(await Bun.file(path).bytes(), script);
}

/** The script and all that it imports as one CommonJS module. */
async function bundle(file: string): Promise<string> {
  const isFile = await stat(file).then(
    (found) => found.isFile(),
    () => false,
  );
  if (!isFile) throw new Fault("invalid_argument", `can't read ${file}`, { field: "file" });
  const built = await Bun.build({
    entrypoints: [resolve(file)],
    target: "node",
    format: "cjs",
    external: ["node:fs", "fs", "node:process", "process"],
    throw: false,
  });
  const [output] = built.outputs;
  if (built.success && output !== undefined) return output.text();
  const said = built.logs.map(({ message, position }) =>
    position === null
      ? message
      : `${position.file}:${position.line}:${position.column}: ${message}`,
  );
  throw new Fault("invalid_argument", `${file} can't be built:\n${said.join("\n")}`, {
    field: "file",
  });
}
