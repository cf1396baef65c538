/**
 * `bun run wasi-testsuite DIR --engine jco|direct`: runs a folder in the format
 * of the public WASI test suite through the WasmAgent. The last line says
 * `N passed, N failed`; exits 1 if a test failed, 2 if the command line is wrong.
 */
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { runSuite } from "../apps/spearlet/src/agents/wasm/suite.ts";

const usage = "usage: bun run wasi-testsuite DIR [--engine jco|direct]";

function refuse(why: string): never {
  console.error(`${why}\n${usage}`);
  process.exit(2);
}

function commandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { engine: { type: "string", default: "direct" } },
    });
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

const { positionals, values } = commandLine();
const [folder, ...more] = positionals;
const { engine } = values;
if (folder === undefined || more.length > 0) refuse("give one folder");
if (engine !== "jco" && engine !== "direct") refuse(`there is no engine "${engine}"`);
if (!(await stat(folder).catch(() => undefined))?.isDirectory()) refuse(`${folder} is no folder`);

const outcomes = await runSuite(resolve(folder), engine, ({ name, failure }) => {
  console.log(failure === undefined ? `pass ${name}` : `FAIL ${name}: ${failure}`);
});
const failed = outcomes.filter(({ failure }) => failure !== undefined).length;
console.log(`${outcomes.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 || outcomes.length === 0 ? 1 : 0);
