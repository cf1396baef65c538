/** The command `spear sms`: one replica of the control plane. */
import { runProgram } from "@spear/shared/program.ts";
import { smsConfig } from "./config.ts";
import { start } from "./sms.ts";

process.exitCode = await runProgram(
  {
    name: "sms",
    summary: "Runs the control plane: nodes, tasks, placement. Any number over one Redis.",
    config: smsConfig,
    start,
  },
  process.argv.slice(2),
);
