/** `spear submit`: a job file, checked here and accepted by SMS whole or not at all. */
import { Fault } from "@spear/shared/fault.ts";
import type { Job, JobSpec } from "@spear/shared/job.ts";
import { fileFault, jobFromFile, parseJobFile } from "@spear/shared/job-file.ts";
import type { Command } from "commander";
import { dirname, resolve } from "node:path";
import type { Client } from "./client.ts";
import { exitCodeOf, followJob } from "./follow-job.ts";
import { uploadModule } from "./module.ts";
import { sessionOf } from "./session.ts";
import { collectPair } from "./values.ts";

interface SubmitOptions {
  param?: Record<string, string>;
  key?: string;
  wait?: boolean;
}

export function addSubmit(program: Command): void {
  program
    .command("submit")
    .summary("submit a job file")
    .description(
      "Submits the job that a YAML or JSON file describes: tasks with dependencies, replicas and\n" +
        "parameters. Prints its id; with --wait follows it and exits with 0 if it succeeded, else 1.\n" +
        "Wasm modules named by a path are uploaded first.",
    )
    .argument("<file>", "job file; - reads standard input")
    .option("-p, --param <NAME=VALUE>", "value of a parameter (repeatable)", collectPair)
    .option("--key <key>", "idempotency key: the same key gives the same job")
    .option("-w, --wait", "follow it until it ends")
    .action(async (path: string, options: SubmitOptions, command: Command) => {
      const { sms, store, output } = sessionOf(command);
      const spec = await specOf(path, options.param ?? {}, store);
      const job = await submitJob(sms, spec, options.key);
      if (options.wait !== true) return output.done(job, job.id);
      process.exitCode = exitCodeOf(await followJob(sms, output, job));
    });
}

/** The spec in a file; uploads the modules that it names by their paths. */
async function specOf(
  path: string,
  params: Readonly<Record<string, string>>,
  store: Client,
): Promise<JobSpec> {
  const spec = jobFromFile(parseJobFile(await read(path), path), params);
  const base = path === "-" ? "." : dirname(path);
  for (const [name, { task }] of Object.entries(spec.tasks)) {
    if (task.wasm === undefined || !/^\.{0,2}\//.test(task.wasm.module)) continue;
    const file = resolve(base, task.wasm.module);
    if (!(await Bun.file(file).exists())) {
      const field = `tasks.${name}.wasm.module`;
      throw new Fault("invalid_argument", `${field}: there is no file ${file}`, { field });
    }
    task.wasm.module = await uploadModule(store, file);
  }
  return spec;
}

async function read(path: string): Promise<string> {
  try {
    return await (path === "-" ? Bun.stdin : Bun.file(path)).text();
  } catch (error) {
    throw new Fault("invalid_argument", `can't read ${path}`, {
      help: "name a job file, or - for standard input",
      cause: error,
    });
  }
}

async function submitJob(sms: Client, spec: JobSpec, idempotencyKey?: string): Promise<Job> {
  try {
    return await sms.json<Job>("POST", "/v1/jobs", {
      body: { spec, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) },
      // A job of thousands of tasks takes SMS a moment.
      timeoutMs: 30_000,
    });
  } catch (error) {
    throw fileFault(Fault.from(error));
  }
}
