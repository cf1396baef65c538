/** `spear submit`: a job file, checked here and accepted by SMS whole or not at all. */
import { Fault } from "@spear/shared/fault.ts";
import type { Job } from "@spear/shared/job.ts";
import { type Filed, fileFault, parseJobFile, readJobFile } from "@spear/shared/job-file.ts";
import type { Schedule } from "@spear/shared/schedule.ts";
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
        "Wasm modules named by a path are uploaded first. A file with a schedule sets the schedule of\n" +
        "the job's name instead, and prints when it comes first.",
    )
    .argument("<file>", "job file; - reads standard input")
    .option("-p, --param <NAME=VALUE>", "value of a parameter (repeatable)", collectPair)
    .option("--key <key>", "idempotency key: the same key gives the same job")
    .option("-w, --wait", "follow it until it ends")
    .action(async (path: string, options: SubmitOptions, command: Command) => {
      const { sms, store, output } = sessionOf(command);
      const { spec, schedule } = await filed(path, options.param ?? {}, store);
      if (schedule !== undefined) {
        const put = await putSchedule(sms, { spec, schedule });
        const next = put.nextAtMs === undefined ? "never" : new Date(put.nextAtMs).toISOString();
        return output.done(put, `${put.name} comes next ${next}`);
      }
      const job = await sent<Job>(sms, "POST", "/v1/jobs", {
        spec,
        ...(options.key === undefined ? {} : { idempotencyKey: options.key }),
      });
      if (options.wait !== true) return output.done(job, job.id);
      process.exitCode = exitCodeOf(await followJob(sms, output, job));
    });
}

/** What a file asks for; uploads the modules that it names by their paths. */
async function filed(
  path: string,
  params: Readonly<Record<string, string>>,
  store: Client,
): Promise<Filed> {
  const asked = readJobFile(parseJobFile(await read(path), path), params);
  const base = path === "-" ? "." : dirname(path);
  for (const [name, { task }] of Object.entries(asked.spec.tasks)) {
    if (task.wasm === undefined || !/^\.{0,2}\//.test(task.wasm.module)) continue;
    const file = resolve(base, task.wasm.module);
    if (!(await Bun.file(file).exists())) {
      const field = `tasks.${name}.wasm.module`;
      throw new Fault("invalid_argument", `${field}: there is no file ${file}`, { field });
    }
    task.wasm.module = await uploadModule(store, file);
  }
  return asked;
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

/** Sets the schedule of the job's name. */
async function putSchedule(sms: Client, { spec, schedule }: Filed): Promise<Schedule> {
  if (spec.name === undefined) {
    throw new Fault("invalid_argument", "name: is missing, and a schedule goes by its name", {
      field: "name",
    });
  }
  const path = `/v1/schedules/${encodeURIComponent(spec.name)}`;
  return sent<Schedule>(sms, "PUT", path, { spec: { ...schedule, job: spec } });
}

/** The answer to what a file asks for; faults name the path in the file. */
async function sent<T>(sms: Client, method: string, path: string, body: unknown): Promise<T> {
  try {
    // A job of thousands of tasks takes SMS a moment.
    return await sms.json<T>(method, path, { body, timeoutMs: 30_000 });
  } catch (error) {
    throw fileFault(Fault.from(error));
  }
}
