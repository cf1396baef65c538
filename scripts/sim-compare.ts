/** `bun run sim record` and `bun run sim compare`: real runs, and what another policy makes of them. */
import { readFile } from "node:fs/promises";
import type { Node } from "@spear/shared/node.ts";
import type { Event, Task } from "@spear/shared/task.ts";
import {
  figuresOf,
  type Line,
  parseRecording,
  ranOf,
  replay,
  table,
} from "../tests/sim/compare.ts";

const quietMs = 1_000;

async function json<T>(address: string, path: string): Promise<T> {
  const response = await fetch(`http://${address}${path}`);
  if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

/** All tasks of an SMS, a page at a time. */
async function* tasksOf(address: string): AsyncGenerator<Task> {
  let token: string | undefined;
  do {
    const after = token === undefined ? "" : `&pageToken=${token}`;
    const page: { tasks: Task[]; nextPageToken?: string } = await json(
      address,
      `/v1/tasks?pageSize=1000${after}`,
    );
    yield* page.tasks;
    token = page.nextPageToken;
  } while (token !== undefined);
}

/** The events that are kept, until none has come for a second. */
async function eventsOf(address: string, take: (event: Event) => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = new WebSocket(`ws://${address}/v1/events?after=0`);
  let quiet = setTimeout(resolve, quietMs);
  socket.addEventListener("message", ({ data }) => {
    const event = JSON.parse(String(data)) as Event & { error?: { detail: string } };
    if (event.error !== undefined) reject(new Error(event.error.detail));
    clearTimeout(quiet);
    quiet = setTimeout(resolve, quietMs);
    take(event);
  });
  socket.addEventListener("error", () => reject(new Error(`SMS at ${address} does not answer`)));
  await promise.finally(() => socket.close());
}

/** Writes what an SMS has to tell as a recording; the exit code. */
export async function record(address: string): Promise<number> {
  const write = (line: Line) => process.stdout.write(`${JSON.stringify(line)}\n`);
  const { nodes } = await json<{ nodes: Node[] }>(address, "/v1/nodes");
  for (const node of nodes) write({ node });
  for await (const task of tasksOf(address)) write({ task });
  await eventsOf(address, (event) => write({ event }));
  return 0;
}

/** Prints a recording beside what each policy makes of it; the exit code. */
export async function compare(file: string): Promise<number> {
  const recording = parseRecording(await readFile(file, "utf8"));
  const { nodes } = recording;
  const ran = ranOf(recording);
  const columns = {
    recorded: figuresOf(ran, nodes),
    binpack: figuresOf(replay(ran, nodes, "binpack"), nodes),
    spread: figuresOf(replay(ran, nodes, "spread"), nodes),
  };
  process.stdout.write(`${table(columns)}\n`);
  return 0;
}
