/** The CLI's commands and global options, put together. */
import { Command } from "commander";
import { addAccessKey } from "./access-key.ts";
import { addBucket } from "./bucket.ts";
import { addBuild } from "./build.ts";
import { addCompletion } from "./completion.ts";
import { addDemo } from "./demo.ts";
import { addDev } from "./dev.ts";
import { addJob } from "./job.ts";
import { addNode } from "./node.ts";
import { addObject } from "./object.ts";
import { addRun } from "./run.ts";
import { addSchedule } from "./schedule.ts";
import { programs } from "./serve.ts";
import { addGlobalOptions } from "./session.ts";
import { addSubmit } from "./submit.ts";
import { addTask } from "./task.ts";
import { addVersion, version } from "./version.ts";

/** A fresh command tree; parsing throws commander's `CommanderError` instead of ending the process. */
export function createProgram(): Command {
  const program = new Command("spear")
    .description("Runs commands on a cluster: as processes, in containers or as WebAssembly.")
    .version(version, "-V, --version")
    .exitOverride()
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    .showHelpAfterError("Run it with --help for what there is.");
  addGlobalOptions(program);
  addDemo(program);
  addDev(program);
  addRun(program);
  addBuild(program);
  addSubmit(program);
  addJob(program);
  addSchedule(program);
  addTask(program);
  addNode(program);
  addObject(program);
  addBucket(program);
  addAccessKey(program);
  // These take their flags by themselves; they stand here to be listed.
  for (const [name, { brief }] of Object.entries(programs)) {
    program.command(name).summary(brief).usage("[flags]").helpOption(false);
  }
  addVersion(program);
  addCompletion(program);
  return program;
}
