/** `spear job dead-letters`: tasks that failed for good. */
import type { Job } from "@spear/shared/job.ts";
import type { Task } from "@spear/shared/task.ts";
import type { Command } from "commander";
import type { Page } from "./client.ts";
import type { Column } from "./output.ts";
import { type Session, sessionOf } from "./session.ts";
import { collect, formatDuration, parseCount, parseIdOf } from "./values.ts";

const defaultLimit = 100;
/** Tasks in one request. */
const together = 1_000;

interface TaskPage extends Page {
  tasks: Task[];
}

const columns: readonly Column<Task>[] = [
  ["TASK", (task) => task.id],
  ["NAME", (task) => task.name],
  ["JOB", (task) => task.jobId],
  ["STATE", (task) => task.state],
  ["EXIT", (task) => task.signal ?? String(task.exitCode ?? "")],
  ["AGO", (task) => formatDuration(Date.now() - (task.finishedAtMs ?? Date.now()))],
  ["WHY", (task) => task.failure?.message ?? ""],
];

async function letters({ sms }: Session, limit: number): Promise<Task[]> {
  const tasks: Task[] = [];
  const pages = sms.pages<TaskPage>("/v1/dead-letters", {}, (page) => page.tasks.length, limit);
  for await (const page of pages) tasks.push(...page.tasks);
  return tasks;
}

export function addDeadLetters(job: Command): void {
  const taskId = parseIdOf("task");
  const group = job
    .command("dead-letters")
    .summary("list and replay tasks that failed for good")
    .description("Tasks that failed for good and were not run again, of all jobs.");
  group
    .command("ls")
    .summary("list them, newest first")
    .option("--limit <count>", "at most so many", parseCount, defaultLimit)
    .action(async (options: { limit: number }, command: Command) => {
      const session = sessionOf(command);
      await session.output.many(await letters(session, options.limit), columns);
    });
  group
    .command("replay")
    .summary("run them again")
    .description(
      "Runs tasks again that failed for good: a single one as it is, one of a job with all of\n" +
        "the job that did not succeed. They leave the list.",
    )
    .argument("[task...]", "task_…", (text: string, before: string[] | undefined) =>
      collect(taskId(text), before),
    )
    .option("--all", "all that are listed")
    .action(async (given: string[] | undefined, options: { all?: boolean }, command: Command) => {
      const session = sessionOf(command);
      const all = options.all === true ? await letters(session, Number.POSITIVE_INFINITY) : [];
      const ids = [...(given ?? []), ...all.map(({ id }) => id)];
      for (let at = 0; at < ids.length; at += together) {
        const body = { taskIds: ids.slice(at, at + together) };
        const path = "/v1/dead-letters:replay";
        const { jobs } = await session.sms.json<{ jobs: Job[] }>("POST", path, { body });
        for (const one of jobs) await session.output.done(one, one.id);
      }
    });
}
