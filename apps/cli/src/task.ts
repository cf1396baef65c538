/** `spear task`: what runs, ran and waits. */
import { runtimes, type Event, type Task } from "@spear/shared/task.ts";
import { isTerminal, taskStates } from "@spear/shared/state.ts";
import { Option, type Command } from "commander";
import { addAudit } from "./audit.ts";
import type { Page } from "./client.ts";
import { showLogs } from "./logs.ts";
import type { Column } from "./output.ts";
import { addReplay } from "./replay.ts";
import { sessionOf } from "./session.ts";
import {
  collect,
  formatBytes,
  formatDuration,
  parseBytes,
  parseCount,
  parseIdOf,
} from "./values.ts";
import { addWhy } from "./why.ts";

const defaultLimit = 100;
const time = (ms: number | undefined) => (ms === undefined ? "" : new Date(ms).toISOString());

/** How long it ran, or runs already. */
function ran(task: Task): string {
  if (task.startedAtMs === undefined) return "";
  return formatDuration((task.finishedAtMs ?? Date.now()) - task.startedAtMs);
}

/** The command as one would type it. */
function commandOf({ spec }: Task): string {
  const words =
    spec.process?.command ??
    (spec.docker && [spec.docker.image, ...(spec.docker.command ?? [])]) ??
    (spec.wasm && [spec.wasm.module, ...(spec.wasm.args ?? [])]) ??
    [];
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}

const shortened = (text: string, width: number) =>
  text.length <= width ? text : `${text.slice(0, width - 1)}…`;

const columns: readonly Column<Task>[] = [
  ["ID", (task) => task.id],
  ["NAME", (task) => task.name],
  ["STATE", (task) => task.state],
  ["TRY", (task) => String(task.attempt)],
  ["EXIT", (task) => task.signal ?? String(task.exitCode ?? "")],
  ["NODE", (task) => task.nodeId ?? ""],
  ["RAN", ran],
  ["AGE", (task) => formatDuration(Date.now() - task.createdAtMs)],
  ["COMMAND", (task) => shortened(commandOf(task), 60)],
];

const details = (task: Task) =>
  [
    ["id", task.id],
    ["name", task.name],
    [
      "state",
      task.cancelRequested && !isTerminal(task.state)
        ? `${task.state}, being cancelled`
        : task.state,
    ],
    ["runtime", task.runtime],
    ["command", commandOf(task)],
    ["attempt", String(task.attempt)],
    ["node", task.nodeId],
    ["exit code", task.exitCode === undefined ? undefined : String(task.exitCode)],
    ["signal", task.signal],
    ["failure", task.failure && `${task.failure.code}: ${task.failure.message}`],
    ["submitted", time(task.createdAtMs)],
    ["started", time(task.startedAtMs)],
    ["ended", time(task.finishedAtMs)],
    ["ran", ran(task)],
    [
      "used",
      task.usage &&
        `${formatDuration(task.usage.cpuMs)} of a core, ${formatBytes(task.usage.maxMemoryBytes)} at most`,
    ],
    ["inputs", task.spec.inputs?.map(({ object, path }) => `${object} as ${path}`).join("\n")],
    [
      "outputs",
      task.outputs
        .map(
          ({ object, objectId, sizeBytes }) => `${object}  ${formatBytes(sizeBytes)}  ${objectId}`,
        )
        .join("\n"),
    ],
    [
      "labels",
      Object.entries(task.spec.labels ?? {})
        .map((pair) => pair.join("="))
        .join("\n"),
    ],
  ] as const;

function eventLine(event: Event): string {
  return [
    time(event.atMs),
    event.kind,
    event.from === "" ? event.to : `${event.from} → ${event.to}`,
    event.reason,
    event.attempt === 0 ? "" : `attempt ${event.attempt}`,
    event.nodeId ?? "",
    event.exitCode === undefined ? "" : `exit ${event.exitCode}`,
  ]
    .filter((part) => part !== "")
    .join("  ");
}

interface TaskPage extends Page {
  tasks: Task[];
}

interface ListOptions {
  state?: string[];
  node?: string;
  runtime?: string;
  name?: string;
  label?: string[];
  limit: number;
}

export function addTask(program: Command): void {
  const task = program
    .command("task")
    .summary("list, follow and end tasks")
    .description("Tasks: what runs, ran and waits.");
  const taskId = parseIdOf("task");
  task
    .command("ls")
    .summary("list tasks, newest first")
    .addOption(
      new Option(
        "--state <state>",
        `only in this state (repeatable): ${taskStates.join(", ")}`,
      ).argParser(collect),
    )
    .option("--node <id>", "only on this node", parseIdOf("node"))
    .addOption(new Option("--runtime <runtime>", "only of this runtime").choices(runtimes))
    .option("--name <name>", "only of this name")
    .option("--label <NAME=VALUE>", "only with this label (repeatable)", collect)
    .option("--limit <count>", "at most so many", parseCount, defaultLimit)
    .action(async (options: ListOptions, command: Command) => {
      const { sms, output } = sessionOf(command);
      const tasks: Task[] = [];
      const pages = sms.pages<TaskPage>(
        "/v1/tasks",
        {
          state: options.state,
          nodeId: options.node,
          runtime: options.runtime,
          name: options.name,
          label: options.label,
        },
        (page) => page.tasks.length,
        options.limit,
      );
      for await (const page of pages) tasks.push(...page.tasks);
      await output.many(tasks, columns);
    });
  task
    .command("get")
    .summary("show a task")
    .argument("<id>", "task_…", taskId)
    .action(async (id: string, _: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      await output.one(await sms.json<Task>("GET", `/v1/tasks/${id}`), details);
    });
  task
    .command("kill")
    .summary("cancel tasks")
    .description("Asks tasks to end: SIGTERM, then SIGKILL. Fine for one that has ended.")
    .argument("<id...>", "task_…", (text: string, before: string[] | undefined) =>
      collect(taskId(text), before),
    )
    .action(async (ids: string[], _: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      for (const id of ids) {
        const killed = await sms.json<Task>("POST", `/v1/tasks/${id}/cancel`);
        await output.done(
          killed,
          `${id} ${isTerminal(killed.state) ? `is ${killed.state}` : "is being cancelled"}`,
        );
      }
    });
  task
    .command("logs")
    .summary("show a task's output")
    .description("Shows what a task wrote, its standard output and error each on our own.")
    .argument("<id>", "task_…", taskId)
    .option("-f, --follow", "go on until it ends")
    .option("--tail <size>", "only the last bytes of each stream, as 4Ki", parseBytes)
    .addOption(new Option("--stream <name>", "only this stream").choices(["stdout", "stderr"]))
    .option("--attempt <number>", "of this attempt (default: the last)", parseCount)
    .action(async (id: string, _: unknown, command: Command) => {
      const { sms } = sessionOf(command);
      const options = command.opts<{
        follow?: boolean;
        tail?: number;
        stream?: string;
        attempt?: number;
      }>();
      await showLogs(sms, id, { ...options, follow: options.follow === true });
    });
  addWhy(task);
  addAudit(task);
  addReplay(task);
  task
    .command("events")
    .summary("show what happened to a task")
    .argument("<id>", "task_…", taskId)
    .option("-f, --follow", "go on until it ends")
    .action(async (id: string, options: { follow?: boolean }, command: Command) => {
      const { sms, output } = sessionOf(command);
      const path = `/v1/tasks/${id}`;
      const { events } = await sms.json<{ events: Event[] }>("GET", `${path}/history`);
      for (const event of events) await output.item(event, eventLine);
      const last = events.at(-1);
      if (options.follow !== true || (last !== undefined && ended(last))) return;
      for await (const event of sms.events(`${path}/events`, last?.seq ?? 0)) {
        await output.item(event, eventLine);
        if (ended(event)) return;
      }
    });
}

const ended = (event: Event) =>
  event.kind === "task.state" &&
  taskStates.some((state) => state === event.to && isTerminal(state));
