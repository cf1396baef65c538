/** `spear run`: submits one task, follows its output and exits as it did. */
import { specDefaults, type Task, type TaskSpec } from "@spear/shared/task.ts";
import { Fault } from "@spear/shared/fault.ts";
import { isTerminal } from "@spear/shared/state.ts";
import { InvalidArgumentError, Option, type Command } from "commander";
import { constants } from "node:os";
import type { Client } from "./client.ts";
import { Interrupts } from "./interrupts.ts";
import { showLogs } from "./logs.ts";
import { uploadModule } from "./module.ts";
import { remark } from "./output.ts";
import { sessionOf } from "./session.ts";
import {
  collect,
  collectInput,
  collectOutput,
  collectPair,
  parseAmount,
  parseBytes,
  parseCount,
  parseDurationMs,
  parseEnvFile,
  type Staging,
} from "./values.ts";

const maxStdinBytes = 64 * 1024;
/** Without a node for so long, the user is told. */
const waitingAfterMs = 3_000;
/** As `timeout` of coreutils does. */
const timedOutCode = 124;

export interface RunOptions {
  name?: string;
  env?: Record<string, string>;
  envFile?: string[];
  input?: Staging[];
  output?: Staging[];
  cpu?: number;
  memory?: number;
  timeout?: number;
  grace?: number;
  retries?: number;
  priority?: number;
  constraint?: string[];
  label?: Record<string, string>;
  node?: string;
  image?: string;
  wasm?: string;
  keep?: boolean;
  interactive?: boolean;
  detach?: boolean;
}

function parsePriority(text: string): number {
  const priority = parseCount(text);
  if (priority > 100) throw new InvalidArgumentError("Write a number from 0 to 100.");
  return priority;
}

export function addRun(program: Command): void {
  program
    .command("run")
    .showHelpAfterError("Put -- before a command with options of its own; --help shows ours.")
    .summary("run a command on the cluster and follow it")
    .description(
      "Runs a command somewhere on the cluster, shows its output as it comes and exits as it did:\n" +
        "its exit code, 128+n if signal n ended it, 124 if it took too long.\n" +
        "Ctrl-C cancels it; a second Ctrl-C leaves at once.",
    )
    .usage("[options] [--] COMMAND [ARGUMENTS...]")
    .argument("[command...]", "program and its arguments; no shell is involved")
    .option("--name <name>", "name for people")
    .option("-e, --env <NAME=VALUE>", "variable of its environment (repeatable)", collectPair)
    .option("--env-file <file>", "file with NAME=VALUE lines (repeatable)", collect)
    .option("--input <BUCKET/KEY:PATH>", "object to put into its directory first", collectInput)
    .option("--output <PATH:BUCKET/KEY>", "file to store when it succeeds", collectOutput)
    .option("--cpu <cores>", `cores it needs (default ${specDefaults.cpu})`, parseAmount)
    .option("--memory <size>", "memory it needs, as 64Mi", parseBytes)
    .option("--timeout <duration>", "longest time it may run, as 30s", parseDurationMs)
    .option("--grace <duration>", "time between SIGTERM and SIGKILL (default 5s)", parseDurationMs)
    .option("--retries <count>", "how often to try again after a failure", parseCount)
    .option("--priority <number>", "0 to 100, the highest (default 50)", parsePriority)
    .option("--constraint <condition>", 'what its node must be, as "label.zone == eu"', collect)
    .option("--label <NAME=VALUE>", "label of the task (repeatable)", collectPair)
    .option("--node <id>", "run on this node only")
    .addOption(new Option("--image <image>", "run in a container of this image").conflicts("wasm"))
    .option("--wasm <file>", "run this WebAssembly module or component")
    .option("--keep", "keep its directory afterwards")
    .option("-i, --interactive", "give it our standard input, at most 64 KiB")
    .option("-d, --detach", "print its id and do not wait")
    .addHelpText(
      "after",
      `
Examples:
  spear run -- sh -c 'echo hello; exit 7'
  spear run --input corpus/a.txt:a.txt --output n.txt:results/n.txt -- sh -c 'wc a.txt >n.txt'
  spear run --image debian:12 -- cat /etc/os-release`,
    )
    .action(async (words: string[], options: RunOptions, command: Command) => {
      if (words.length === 0 && options.image === undefined && options.wasm === undefined) {
        command.error("error: no command is given", { exitCode: 2 });
      }
      const { sms, store, output } = sessionOf(command);
      const spec = await specOf(words, options, store);
      if (options.detach === true) {
        const task = await submit(sms, spec);
        await output.done(task, task.id);
      } else {
        process.exitCode = await runAttached(sms, spec);
      }
    });
}

/** The task that words and options ask for; uploads the module if there is one. */
export async function specOf(
  words: string[],
  options: RunOptions,
  store: Client,
): Promise<TaskSpec> {
  const env: Record<string, string> = {};
  for (const path of options.envFile ?? []) {
    Object.assign(env, parseEnvFile(await readText(path, "--env-file"), path));
  }
  Object.assign(env, options.env);
  const runtime =
    options.wasm !== undefined
      ? { wasm: { module: await uploadModule(store, options.wasm), args: words } }
      : options.image !== undefined
        ? { docker: { image: options.image, ...(words.length > 0 ? { command: words } : {}) } }
        : { process: { command: words } };
  const resources = {
    ...(options.cpu === undefined ? {} : { cpu: options.cpu }),
    ...(options.memory === undefined ? {} : { memoryBytes: options.memory }),
  };
  const stdin = options.interactive === true ? await readStdin() : "";
  return {
    ...runtime,
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(Object.keys(env).length === 0 ? {} : { env }),
    ...(stdin === "" ? {} : { stdin }),
    ...(Object.keys(resources).length === 0 ? {} : { resources }),
    ...(options.input === undefined ? {} : { inputs: options.input }),
    ...(options.output === undefined ? {} : { outputs: options.output }),
    ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
    ...(options.grace === undefined ? {} : { graceMs: options.grace }),
    ...(options.retries === undefined ? {} : { retries: { max: options.retries } }),
    ...(options.priority === undefined ? {} : { priority: options.priority }),
    ...(options.constraint === undefined ? {} : { constraints: options.constraint }),
    ...(options.label === undefined ? {} : { labels: options.label }),
    ...(options.node === undefined ? {} : { nodeId: options.node }),
    ...(options.keep === undefined ? {} : { keep: options.keep }),
  };
}

async function readText(path: string, flag: string): Promise<string> {
  try {
    return await Bun.file(path).text();
  } catch (error) {
    throw new Fault("invalid_argument", `${flag}: can't read ${path}`, {
      field: flag,
      cause: error,
    });
  }
}

/** Our standard input to its end, base64; refuses more than a task may be given. */
async function readStdin(): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of Bun.stdin.stream()) {
    size += piece.length;
    if (size > maxStdinBytes) {
      throw new Fault("payload_too_large", "--interactive: standard input is over 64 KiB", {
        field: "--interactive",
        help: "store it with 'spear object put - BUCKET/KEY' and give it with --input",
      });
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("base64");
}

/** Submits once, however often it must try: the key makes the server's answer the same. */
export function submit(sms: Client, spec: TaskSpec): Promise<Task> {
  return sms.json("POST", "/v1/tasks", { body: { spec, idempotencyKey: crypto.randomUUID() } });
}

/** Submits, shows the output until the end and resolves with the exit code to end with. */
async function runAttached(sms: Client, spec: TaskSpec): Promise<number> {
  let taskId: string | undefined = undefined;
  const cancel = () => {
    if (taskId === undefined) return;
    remark(`cancelling ${taskId}; once more leaves at once`);
    sms.json("POST", `/v1/tasks/${taskId}/cancel`).catch((error: unknown) => {
      remark(`it could not be cancelled: ${Fault.from(error).message}`);
    });
  };
  using interrupts = new Interrupts(cancel);
  const { id } = await submit(sms, spec);
  taskId = id;
  if (interrupts.first !== undefined) cancel();
  const patience = setTimeout(() => void sayIfWaiting(sms, id), waitingAfterMs);
  let task: Task | undefined;
  try {
    task = await showLogs(sms, id, { follow: true });
  } finally {
    clearTimeout(patience);
  }
  task ??= await sms.json<Task>("GET", `/v1/tasks/${id}`);
  if (task.failure !== undefined && task.exitCode === undefined) {
    remark(`${task.state.replace("_", " ")}: ${task.failure.message}`);
  }
  return exitCodeOf(task, interrupts.first);
}

/** Says so if a task has found no node yet. */
async function sayIfWaiting(sms: Client, id: string): Promise<void> {
  const task = await sms.json<Task>("GET", `/v1/tasks/${id}`).catch(() => undefined);
  if (task?.state !== "pending") return;
  remark(
    `${id} waits${task.failure === undefined ? " for a node that can take it" : `: ${task.failure.message}`}`,
  );
}

/** How `spear run` ends for a task that ended so; `interrupt` is the signal that we got, if any. */
export function exitCodeOf(task: Task, interrupt: NodeJS.Signals | undefined): number {
  if (task.state === "succeeded") return 0;
  if (task.state === "cancelled" && interrupt !== undefined) {
    return 128 + constants.signals[interrupt];
  }
  if (task.state === "timed_out") return timedOutCode;
  if (task.signal !== undefined && task.signal in constants.signals) {
    return 128 + constants.signals[task.signal as NodeJS.Signals];
  }
  if (!isTerminal(task.state)) return 1;
  return task.exitCode === undefined || task.exitCode === 0 ? 1 : task.exitCode;
}
