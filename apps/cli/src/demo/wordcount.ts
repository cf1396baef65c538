/** The demo's job: a word count as a user would write it, one task a part and one to merge. */
import { Fault } from "@spear/shared/fault.ts";
import type { Node } from "@spear/shared/node.ts";
import { isTerminal, taskStates } from "@spear/shared/state.ts";
import type { Task, TaskSpec } from "@spear/shared/task.ts";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "../client.ts";
import { readLogs } from "../logs.ts";
import { submit } from "../run.ts";
import { getObject, objectPath, putObject, type StoredObject } from "../transfer.ts";
import { formatBytes } from "../values.ts";
import countScript from "../../../../examples/word-count/count.sh" with { type: "text" };
import mergeScript from "../../../../examples/word-count/merge.sh" with { type: "text" };
import { countWords, parseCounts, partsOf } from "./corpus.ts";

const bucket = "demo";
/** Tasks that fill a node: more would wait, so the parts spread over the nodes. */
const tasksOnNode = 4;

export interface WordCount {
  /** Word → how often, the most frequent first. */
  counts: Map<string, number>;
  /** `counts` as the merging task wrote it. */
  result: string;
  tasks: Task[];
  /** Id of a node → its name. */
  nodeNames: Map<string, string>;
  objects: StoredObject[];
}

interface Surroundings {
  /** For files on their way to and from the store. */
  directory: string;
  say: (text: string) => void;
  signal: AbortSignal;
}

/** Counts the words of `text`. Throws what failed, and `internal` if the counts are wrong. */
export async function countOnCluster(
  { sms, store }: { sms: Client; store: Client },
  text: Buffer,
  { directory, say, signal }: Surroundings,
): Promise<WordCount> {
  const { nodes } = await sms.json<{ nodes: Node[] }>("GET", "/v1/nodes", { signal });
  const cpu = Math.min(...nodes.map(({ capacity }) => capacity.cpu)) / tasksOnNode;
  const parts = partsOf(text, nodes.length * tasksOnNode);
  const local = join(directory, "local");
  await mkdir(local);

  const put = async (key: string, bytes: string | Uint8Array) => {
    const path = join(local, key.replaceAll("/", "-"));
    await writeFile(path, bytes);
    return putObject(store, path, { bucket, key }, { contentType: "text/plain", progress: false });
  };
  await store.json("PUT", `/v1/buckets/${bucket}`, { signal });
  await put("scripts/count.sh", countScript);
  await put("scripts/merge.sh", mergeScript);
  for (const [index, part] of parts.entries()) await put(`parts/${index}.txt`, part);
  say(`stored it as ${parts.length} parts of about ${formatBytes(text.length / parts.length)}`);

  const counting = await Promise.all(parts.map((_, index) => submit(sms, countSpec(index, cpu))));
  say(`submitted ${counting.length} tasks that count`);
  const counted = await untilSucceeded(sms, counting, signal);
  const merging = await submit(sms, mergeSpec(parts.length));
  say("submitted the task that merges");
  const merged = await untilSucceeded(sms, [merging], signal);

  const path = join(local, "counts.txt");
  await getObject(store, objectPath({ bucket, key: "counts.txt" }), path, false);
  const result = await readFile(path, "utf8");
  const counts = parseCounts(result);
  checkCounts(counts, countWords(text));
  return {
    counts,
    result,
    tasks: [...counted, ...merged],
    nodeNames: new Map(nodes.map(({ id, name }) => [id, name])),
    objects: await listObjects(store),
  };
}

function countSpec(index: number, cpu: number): TaskSpec {
  return {
    name: `count-${index}`,
    process: { command: ["sh", "count.sh", "part.txt", "counts.txt"] },
    inputs: [
      { object: `${bucket}/scripts/count.sh`, path: "count.sh" },
      { object: `${bucket}/parts/${index}.txt`, path: "part.txt" },
    ],
    outputs: [{ path: "counts.txt", object: `${bucket}/counts/${index}.txt` }],
    resources: { cpu },
    timeoutMs: 60_000,
  };
}

function mergeSpec(parts: number): TaskSpec {
  const paths = Array.from({ length: parts }, (_, index) => `${index}.txt`);
  return {
    name: "merge",
    process: { command: ["sh", "merge.sh", "counts.txt", ...paths] },
    inputs: [
      { object: `${bucket}/scripts/merge.sh`, path: "merge.sh" },
      ...paths.map((path) => ({ object: `${bucket}/counts/${path}`, path })),
    ],
    outputs: [{ path: "counts.txt", object: `${bucket}/counts.txt` }],
    timeoutMs: 60_000,
  };
}

const endStates = new Set<string>(taskStates.filter((state) => isTerminal(state)));

/** The tasks once all have ended; throws `internal` with the output of one that did not succeed. */
async function untilSucceeded(
  sms: Client,
  tasks: readonly Task[],
  signal: AbortSignal,
): Promise<Task[]> {
  const open = new Set(tasks.map(({ id }) => id));
  for await (const event of sms.events("/v1/events", 0, signal)) {
    if (event.kind === "task.state" && endStates.has(event.to)) open.delete(event.taskId ?? "");
    if (open.size === 0) break;
  }
  signal.throwIfAborted();
  const ended = await Promise.all(
    tasks.map(({ id }) => sms.json<Task>("GET", `/v1/tasks/${id}`, { signal })),
  );
  const bad = ended.find(({ state }) => state !== "succeeded");
  if (bad === undefined) return ended;
  const said: Uint8Array[] = [];
  for await (const { bytes } of readLogs(sms, bad.id, { follow: false }, signal)) said.push(bytes);
  throw new Fault(
    "internal",
    `task ${bad.name} ${bad.state}: ${bad.failure?.message ?? "for no known reason"}\n${Buffer.concat(said).toString()}`,
  );
}

function checkCounts(got: Map<string, number>, expected: Map<string, number>): void {
  const wrong = [...expected].find(([word, count]) => got.get(word) !== count);
  if (wrong === undefined && got.size === expected.size) return;
  throw new Fault(
    "internal",
    wrong === undefined
      ? `the cluster found ${got.size} words and there are ${expected.size}`
      : `the cluster counted "${wrong[0]}" ${got.get(wrong[0]) ?? 0} times and it is there ${wrong[1]} times`,
  );
}

async function listObjects(store: Client): Promise<StoredObject[]> {
  const { objects } = await store.json<{ objects: StoredObject[] }>(
    "GET",
    `/v1/buckets/${bucket}/objects`,
  );
  return objects;
}
