/** What the tests of the Docker agent share: attempts to run, and a sink that can be waited on. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds } from "@spear/shared/ids.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import type { AttemptContext, OutputSink } from "../agent.ts";

type Stream = Parameters<OutputSink["write"]>[0];

/** Keeps all output in memory. */
export class MemorySink implements OutputSink {
  readonly #pieces: Record<Stream, Uint8Array[]> = { stdout: [], stderr: [], system: [] };
  #changed = Promise.withResolvers<void>();

  write(stream: Stream, bytes: Uint8Array): Promise<void> {
    this.#pieces[stream].push(Uint8Array.from(bytes));
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
    return Promise.resolve();
  }

  bytes(stream: Stream): Buffer {
    return Buffer.concat(this.#pieces[stream]);
  }

  text(stream: Stream): string {
    return this.bytes(stream).toString();
  }

  /** Resolves once the stream holds the text. */
  async holds(stream: Stream, text: string): Promise<void> {
    while (!this.text(stream).includes(text)) await this.#changed.promise;
  }
}

export interface AttemptOptions extends Partial<Omit<AttemptContext, "stdin" | "output" | "spec">> {
  docker?: Partial<NonNullable<TaskSpec["docker"]>>;
  stdin?: string;
  maxLogBytes?: number;
}

/** The first attempt of a new task, with a fresh work directory. */
export async function newAttempt(
  image: string,
  command: string[],
  { docker, stdin = "", maxLogBytes, ...rest }: AttemptOptions = {},
) {
  return {
    taskId: systemIds.next("task"),
    attempt: 1,
    spec: {
      docker: { image, command, ...docker },
      ...(maxLogBytes === undefined ? {} : { maxLogBytes }),
    },
    workDir: rest.workDir ?? (await mkdtemp(join(tmpdir(), "spear-docker-work-"))),
    env: {},
    stdin: Buffer.from(stdin),
    output: new MemorySink(),
    limits: { cpu: 1, memoryBytes: 64 * 1024 * 1024, pids: undefined },
    ...rest,
  } satisfies AttemptContext;
}

/** Resolves once the condition holds; the test's timeout is the limit. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await Bun.sleep(5);
}
