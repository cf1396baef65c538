/**
 * A task's output as it comes. A connection that breaks is made again, and what
 * was seen already is left out: frames carry their attempt and offset.
 */
import { Fault } from "@spear/shared/fault.ts";
import type { Task } from "@spear/shared/task.ts";
import { systemClock } from "@spear/shared/clock.ts";
import type { Client } from "./client.ts";
import { linesOf } from "./lines.ts";
import { remark, write } from "./output.ts";

/** Longest line of the stream: a frame's data is far below it. */
const maxLineLength = 16 << 20;
/** SMS sends a blank line every 5 s: a connection that is silent for longer is dead. */
const silentForMs = 12_000;
const reconnectForMs = 60_000;
const reconnectEveryMs = 500;

type Stream = "stdout" | "stderr" | "system";

interface Frame {
  stream: Stream;
  /** Base64. */
  data: string;
  attempt: number;
  offset: number;
}

export interface LogOptions {
  stream?: string | undefined;
  follow: boolean;
  /** Only this many last bytes of each stream first. */
  tail?: number | undefined;
  attempt?: number | undefined;
}

type Line = Frame | { end: Task } | { error: object };

/** The connection is dead, whatever it says of itself. */
class Silence extends Error {}

/** What comes. Throws `Silence` when nothing has come for too long. */
async function* heard(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const silent = Promise.withResolvers<never>();
      const timer = setTimeout(() => silent.reject(new Silence()), silentForMs);
      const next = await Promise.race([reader.read(), silent.promise]).finally(() =>
        clearTimeout(timer),
      );
      if (next.done) return;
      yield next.value;
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

async function* framesOnce(
  client: Client,
  path: string,
  options: LogOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<Line> {
  const response = await client.request("GET", path, {
    query: {
      stream: options.stream,
      follow: options.follow,
      tail: options.tail,
      attempt: options.attempt,
    },
    ...(signal === undefined ? {} : { signal }),
  });
  if (response.body === null) return;
  try {
    for await (const line of linesOf(heard(response.body), maxLineLength)) {
      if (line.trim() !== "") yield JSON.parse(line) as Line;
    }
  } catch (error) {
    if (error instanceof Fault || error instanceof Silence || signal?.aborted) throw error;
    throw client.unreachable(error);
  }
}

/** What of a frame is new, given how far each stream of each attempt was read. */
function unseen(frame: Frame, seen: Map<string, number>): Uint8Array | undefined {
  const bytes = Buffer.from(frame.data, "base64");
  const stream = `${frame.attempt} ${frame.stream}`;
  const known = seen.get(stream) ?? 0;
  const end = frame.offset + bytes.length;
  if (end <= known) return undefined;
  seen.set(stream, end);
  return frame.offset < known ? bytes.subarray(known - frame.offset) : bytes;
}

/** Output, piece by piece; returns the task as it stood at the end of the stream. */
export async function* readLogs(
  client: Client,
  taskId: string,
  options: LogOptions,
  signal?: AbortSignal,
): AsyncGenerator<{ stream: Stream; bytes: Uint8Array }, Task | undefined> {
  const path = `/v1/tasks/${encodeURIComponent(taskId)}/logs`;
  const seen = new Map<string, number>();
  let brokenSince: number | undefined;
  let first = true;
  for (;;) {
    try {
      const { tail: _tail, ...whole } = options;
      for await (const line of framesOnce(client, path, first ? options : whole, signal)) {
        if ("end" in line) return line.end;
        if ("error" in line) throw Fault.fromProblem(line.error);
        first = false;
        brokenSince = undefined;
        const bytes = unseen(line, seen);
        if (bytes !== undefined) yield { stream: line.stream, bytes };
      }
      if (!options.follow) return undefined;
      throw new Fault("unavailable", "the stream of output broke off");
    } catch (error) {
      if (error instanceof Silence) continue;
      const lasting = !(error instanceof Fault) || !error.row.retryable || !options.follow;
      if (signal?.aborted || lasting) throw error;
      // Nothing was ever read: the address may be wrong, so say so at once.
      if (first && brokenSince === undefined && error.code === "unavailable") {
        await client.json("GET", `/v1/tasks/${encodeURIComponent(taskId)}`);
      }
      if (brokenSince === undefined) remark(`${error.message}; trying again`);
      brokenSince ??= Date.now();
      if (Date.now() - brokenSince > reconnectForMs) throw error;
      await systemClock.wait(reconnectEveryMs, signal);
    }
  }
}

/** Writes a task's output to our own, stream by stream; resolves as `readLogs` returns. */
export async function showLogs(
  client: Client,
  taskId: string,
  options: LogOptions,
  signal?: AbortSignal,
): Promise<Task | undefined> {
  const pieces = readLogs(client, taskId, options, signal);
  for (;;) {
    const { value, done } = await pieces.next();
    if (done === true) return value;
    await write(value.stream === "stdout" ? process.stdout : process.stderr, value.bytes);
  }
}
