/** The command `spear spearlet`: one node of the cluster. */
import { runProgram } from "@spear/shared/program.ts";
import { spearletConfig } from "./config.ts";
import { start } from "./spearlet.ts";

process.exitCode = await runProgram(
  {
    name: "spearlet",
    summary: "Runs a node: takes tasks from SMS and runs them on this machine.",
    config: spearletConfig,
    start,
  },
  process.argv.slice(2),
);
