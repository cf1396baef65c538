/** `spear job`: jobs and their tasks. */
import { isEnded, type Job, jobStates } from "@spear/shared/job.ts";
import { taskStates } from "@spear/shared/state.ts";
import type { Task } from "@spear/shared/task.ts";
import { Option, type Command } from "commander";
import type { Page } from "./client.ts";
import { addDeadLetters } from "./dead-letters.ts";
import { countsOf, exitCodeOf, followJob, ran } from "./follow-job.ts";
import type { Column } from "./output.ts";
import { sessionOf } from "./session.ts";
import { collect, formatDuration, parseCount, parseIdOf } from "./values.ts";

const defaultLimit = 100;
const time = (ms: number | undefined) => (ms === undefined ? "" : new Date(ms).toISOString());

/** A job's state with what somebody asked of it. */
function standing(job: Job): string {
  if (isEnded(job.state)) return job.state;
  if (job.cancelRequested) return `${job.state}, being cancelled`;
  return job.paused ? `${job.state}, paused` : job.state;
}

const columns: readonly Column<Job>[] = [
  ["ID", (job) => job.id],
  ["NAME", (job) => job.name],
  ["STATE", standing],
  ["TASKS", (job) => `${job.counts["succeeded"] ?? 0}/${job.total}`],
  ["RAN", ran],
  ["AGE", (job) => formatDuration(Date.now() - job.createdAtMs)],
  ["FAILURE", (job) => job.failure?.message ?? ""],
];

const taskColumns: readonly Column<Task>[] = [
  ["ID", (task) => task.id],
  ["NAME", (task) => task.name],
  ["STATE", (task) => task.state],
  ["TRY", (task) => String(task.attempt)],
  ["EXIT", (task) => task.signal ?? String(task.exitCode ?? "")],
  ["NODE", (task) => task.nodeId ?? ""],
];

const details = (job: Job) =>
  [
    ["id", job.id],
    ["name", job.name],
    ["state", standing(job)],
    ["tasks", `${job.total}: ${countsOf(job)}`],
    ["failure", job.failure && `${job.failure.code}: ${job.failure.message}`],
    ["submitted", time(job.createdAtMs)],
    ["started", time(job.startedAtMs)],
    ["ended", time(job.finishedAtMs)],
    ["ran", ran(job)],
    ["rerun of", job.rerunOf],
    [
      "labels",
      Object.entries(job.labels)
        .map((pair) => pair.join("="))
        .join("\n"),
    ],
    [
      "parameters",
      Object.entries(job.spec?.params ?? {})
        .map((pair) => pair.join("="))
        .join("\n"),
    ],
  ] as const;

const jobId = parseIdOf("job");

interface JobPage extends Page {
  jobs: Job[];
}
interface TaskPage extends Page {
  tasks: Task[];
}

const stateOption = (states: readonly string[]) =>
  new Option("--state <state>", `only in this state (repeatable): ${states.join(", ")}`).argParser(
    collect,
  );

export function addJob(program: Command): void {
  const job = program
    .command("job")
    .summary("list, follow, cancel and rerun jobs")
    .description("Jobs: tasks with dependencies, submitted together.");
  addReading(job);
  addChanging(job);
  addDeadLetters(job);
}

function addReading(job: Command): void {
  job
    .command("ls")
    .summary("list jobs, newest first")
    .addOption(stateOption(jobStates))
    .option("--label <NAME=VALUE>", "only with this label (repeatable)", collect)
    .option("--limit <count>", "at most so many", parseCount, defaultLimit)
    .action(
      async (options: { state?: string[]; label?: string[]; limit: number }, command: Command) => {
        const { sms, output } = sessionOf(command);
        const jobs: Job[] = [];
        const query = { state: options.state, label: options.label };
        const pages = sms.pages<JobPage>(
          "/v1/jobs",
          query,
          (page) => page.jobs.length,
          options.limit,
        );
        for await (const page of pages) jobs.push(...page.jobs);
        await output.many(jobs, columns);
      },
    );
  job
    .command("get")
    .summary("show a job")
    .argument("<id>", "job_…", jobId)
    .option("-w, --wait", "follow it until it ends; exits with 0 if it succeeded, else 1")
    .action(async (id: string, options: { wait?: boolean }, command: Command) => {
      const { sms, output } = sessionOf(command);
      const found = await sms.json<Job>("GET", `/v1/jobs/${id}`);
      if (options.wait !== true) return output.one(found, details);
      process.exitCode = exitCodeOf(await followJob(sms, output, found));
    });
  job
    .command("tasks")
    .summary("list a job's tasks")
    .argument("<id>", "job_…", jobId)
    .addOption(stateOption(taskStates))
    .option("--limit <count>", "at most so many", parseCount, defaultLimit)
    .action(async (id: string, options: { state?: string[]; limit: number }, command: Command) => {
      const { sms, output } = sessionOf(command);
      const tasks: Task[] = [];
      const pages = sms.pages<TaskPage>(
        `/v1/jobs/${id}/tasks`,
        { state: options.state },
        (page) => page.tasks.length,
        options.limit,
      );
      for await (const page of pages) tasks.push(...page.tasks);
      await output.many(tasks, taskColumns);
    });
}

function addChanging(job: Command): void {
  const change = (name: string, summary: string, sentence: (job: Job) => string) =>
    job
      .command(name)
      .summary(summary)
      .argument("<id...>", "job_…", (text: string, before: string[] | undefined) =>
        collect(jobId(text), before),
      )
      .action(async (ids: string[], _: unknown, command: Command) => {
        const { sms, output } = sessionOf(command);
        for (const id of ids) {
          const changed = await sms.json<Job>("POST", `/v1/jobs/${id}/${name}`);
          await output.done(changed, `${id} ${sentence(changed)}`);
        }
      });
  change("cancel", "end jobs with all their tasks", (changed) =>
    isEnded(changed.state) ? `is ${changed.state}` : "is being cancelled",
  );
  change("pause", "let nothing new of jobs start", () => "is paused");
  change("resume", "take a pause back", () => "goes on");
  job
    .command("rerun")
    .summary("submit an ended job again")
    .argument("<id>", "job_…", jobId)
    .option("--failed", "only the tasks that did not succeed")
    .option("-w, --wait", "follow it until it ends; exits with 0 if it succeeded, else 1")
    .action(async (id: string, options: { failed?: boolean; wait?: boolean }, command: Command) => {
      const { sms, output } = sessionOf(command);
      const body = { failedOnly: options.failed === true };
      const again = await sms.json<Job>("POST", `/v1/jobs/${id}/rerun`, { body });
      if (options.wait !== true) return output.done(again, again.id);
      process.exitCode = exitCodeOf(await followJob(sms, output, again));
    });
}
