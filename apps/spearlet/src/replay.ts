/**
 * Runs a recorded Wasm guest again, here and offline: it gets what the recording holds
 * in place of clocks, randomness and hostcalls, and must do the same again.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TaskId } from "@spear/shared/ids.ts";
import { specDefaults } from "@spear/shared/task.ts";
import type { OutputSink } from "./agents/agent.ts";
import { WasmAgent } from "./agents/wasm/wasm.ts";
import {
  HashedOutput,
  resultOf,
  type RecordingHead,
  type RunResult,
} from "./recordings/recording.ts";

export { recordingName, type RecordingHead } from "./recordings/recording.ts";

/** A recording as its first line and its tape. Throws `SyntaxError` if it is none. */
export function parseRecording(bytes: Uint8Array): { head: RecordingHead; tape: Uint8Array } {
  const end = bytes.indexOf(10);
  const line = new TextDecoder().decode(bytes.subarray(0, Math.max(0, end)));
  return { head: JSON.parse(line) as RecordingHead, tape: bytes.subarray(end + 1) };
}

export interface ReplayOptions {
  head: RecordingHead;
  tape: Uint8Array;
  /** File of the module. */
  module: string;
  /** Where the guest works; `work` in it holds the inputs. */
  folder: string;
  output: OutputSink;
}

/** The directory that stands for the work directory of the run. */
export const replayWorkDir = (folder: string): string => join(folder, "work");

/** Runs it again; what is different, a line each. */
export async function replay(options: ReplayOptions): Promise<string[]> {
  const { head, tape, module, folder, output } = options;
  const { spec } = head;
  const tapeFile = join(folder, "tape");
  const workDir = replayWorkDir(folder);
  await mkdir(workDir, { recursive: true });
  await writeFile(tapeFile, tape);
  await using agent = new WasmAgent({
    fetchModule: () => Promise.resolve({ path: module, sha256: head.module }),
    cacheDir: join(folder, "compiled"),
    idle: 1,
  });
  const hashed = new HashedOutput(output);
  const prepared = await agent.prepare(
    {
      taskId: head.taskId as TaskId,
      attempt: head.attempt,
      spec,
      workDir,
      env: head.env,
      stdin: Buffer.from(spec.stdin ?? "", "base64"),
      output: hashed,
      tape: { replay: tapeFile },
      limits: {
        cpu: spec.resources?.cpu ?? specDefaults.cpu,
        memoryBytes: spec.resources?.memoryBytes ?? specDefaults.memoryBytes,
        pids: undefined,
      },
    },
    new AbortController().signal,
  );
  const exit = await (await prepared.start()).exit;
  await prepared.cleanup();
  if (exit.failure?.code === "replay_diverged") return [exit.failure.message];
  return differences(head.result, await resultOf(exit, hashed, spec, workDir));
}

/** What is not as it was, a line each. */
function differences(then: RunResult, now: RunResult): string[] {
  const parts = ["exitCode", "signal", "failure", "stdout", "stderr"] as const;
  const lines = parts
    .filter((part) => then[part] !== now[part])
    .map((part) => `${part} was ${then[part] ?? "none"} and is ${now[part] ?? "none"}`);
  const before = new Map(then.outputs.map(({ path, sha256 }) => [path, sha256]));
  const after = new Map(now.outputs.map(({ path, sha256 }) => [path, sha256]));
  for (const path of new Set([...before.keys(), ...after.keys()])) {
    if (before.get(path) !== after.get(path)) lines.push(`output ${path} is another`);
  }
  return lines;
}
