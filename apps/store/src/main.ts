/** The command `spear store`: buckets of objects on this machine's disk. */
import { runProgram } from "@spear/shared/program.ts";
import { storeConfig } from "./config.ts";
import { start } from "./store.ts";

process.exitCode = await runProgram(
  {
    name: "store",
    summary: "Runs the Object Store: buckets of objects on this machine's disk.",
    config: storeConfig,
    start,
  },
  process.argv.slice(2),
);
