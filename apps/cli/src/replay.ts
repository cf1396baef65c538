/** `spear task replay`: runs a recorded Wasm task again, offline, and compares. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import type { Task, TaskSpec } from "@spear/shared/task.ts";
import {
  parseRecording,
  recordingName,
  replay,
  replayWorkDir,
  type RecordingHead,
} from "@spear/spearlet/replay.ts";
import type { Command } from "commander";
import type { Client } from "./client.ts";
import { write } from "./output.ts";
import { sessionOf } from "./session.ts";
import { objectPath } from "./transfer.ts";
import { parseCount, parseIdOf, parseObjectName } from "./values.ts";

/** Time for an object to begin to come, in milliseconds. */
const patienceMs = 30_000;

async function bytesOf(store: Client, object: string): Promise<Uint8Array> {
  const path = objectPath(parseObjectName(object));
  const response = await store.request("GET", path, { timeoutMs: patienceMs });
  return response.bytes();
}

/** The bytes of an object that must be what they were. Throws `conflict`. */
async function unchanged(store: Client, object: string, sha256: string): Promise<Uint8Array> {
  const bytes = await bytesOf(store, object);
  if (Bun.SHA256.hash(bytes, "hex") === sha256) return bytes;
  throw new Fault("conflict", `${object} is not what it was when the task ran`, {
    help: "a replay needs the module and the inputs of that run",
  });
}

const moduleOf = ({ wasm }: TaskSpec) => wasm?.module.replace(/^sha256:/, "spear-modules/") ?? "";

/** Fetches what the run was given, into a folder; the module's file. */
async function gather(store: Client, head: RecordingHead, folder: string): Promise<string> {
  const module = join(folder, "module.wasm");
  await writeFile(module, await unchanged(store, moduleOf(head.spec), head.module));
  const objects = new Map(head.spec.inputs?.map(({ path, object }) => [path, object]));
  for (const { path, sha256 } of head.inputs) {
    const file = join(replayWorkDir(folder), path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, await unchanged(store, objects.get(path) ?? "", sha256));
  }
  return module;
}

async function recordingOf(store: Client, task: Task, attempt: number) {
  if (task.spec.record !== true) {
    throw new Fault("conflict", `${task.id} was not recorded`, {
      help: "set record: true in the spec of a wasm task, and run it again",
    });
  }
  return parseRecording(await bytesOf(store, recordingName({ taskId: task.id, attempt })));
}

export function addReplay(task: Command): void {
  task
    .command("replay")
    .summary("run a recorded wasm task again, offline, and compare")
    .description(
      "Runs a wasm task that was recorded (record: true) again on this machine, with the clocks,\n" +
        "randomness and answers of then. Exits with 1 if its output is not byte for byte the same.",
    )
    .argument("<id>", "task_…", parseIdOf("task"))
    .option("--attempt <number>", "this attempt (default: the last)", parseCount)
    .option("--quiet", "do not show what it writes")
    .action(
      async (id: string, options: { attempt?: number; quiet?: boolean }, command: Command) => {
        const { sms, store, output } = sessionOf(command);
        const found = await sms.json<Task>("GET", `/v1/tasks/${id}`);
        const attempt = options.attempt ?? found.attempt;
        const { head, tape } = await recordingOf(store, found, attempt);
        const folder = await mkdtemp(join(tmpdir(), "spear-replay-"));
        try {
          const module = await gather(store, head, folder);
          const differences = await replay({
            head,
            tape,
            module,
            folder,
            output: {
              write: (stream, bytes) =>
                options.quiet === true || stream === "system"
                  ? Promise.resolve()
                  : write(process[stream], bytes),
            },
          });
          if (differences.length > 0) {
            throw new Fault("conflict", `the replay of ${id} differs: ${differences.join("; ")}`);
          }
          await output.done(
            { taskId: id, attempt, same: true },
            `attempt ${attempt} of ${id} did the same again`,
          );
        } finally {
          await rm(folder, { recursive: true, force: true });
        }
      },
    );
}
