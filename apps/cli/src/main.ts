/** The command `spear`. Exit codes: 0 done, 1 failed, 2 wrong usage; `spear run` ends as the task did. */
import { Fault, faultLines } from "@spear/shared/fault.ts";
import { childWord } from "@spear/spearlet/agents/wasm/command.ts";
import { CommanderError } from "commander";
import { createProgram } from "./program.ts";
import { programs } from "./serve.ts";

/** A reader such as `head` that has seen enough ends us as SIGPIPE would. */
const brokenPipeCode = 141;

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if ((error as { code?: unknown } | null)?.code === "EPIPE") return brokenPipeCode;
  const fault = Fault.from(error);
  const cause = fault.code === "internal" ? fault.cause : undefined;
  process.stderr.write(
    cause instanceof Error
      ? `error: ${cause.message}\n${process.env["SPEAR_DEBUG"] ? `${cause.stack}\n` : "  SPEAR_DEBUG=1 shows where\n"}`
      : faultLines(fault),
  );
  return fault.field?.startsWith("--") === true ? 2 : 1;
}

process.stdout.on("error", (error) => process.exit(report(error)));
const argv = process.argv.slice(2);
try {
  // What an executable runs itself as, for a node's WebAssembly guests.
  if (argv[0] === childWord) {
    await (await import("@spear/spearlet/agents/wasm/child.ts")).serve(Number(argv[1]));
  }
  const program = Object.hasOwn(programs, argv[0] ?? "") ? programs[argv[0] ?? ""] : undefined;
  if (program !== undefined) process.exitCode = await program.run(argv.slice(1));
  else await createProgram().parseAsync(argv, { from: "user" });
} catch (error) {
  process.exitCode = report(error);
}
