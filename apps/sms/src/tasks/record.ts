/** How a task's record is kept in Redis, and as what it is shown. */
import type { JobId, NodeId, TaskId } from "@spear/shared/ids.ts";
import { jobOfOne } from "@spear/shared/ids.ts";
import type { TaskState } from "@spear/shared/state.ts";
import type { Event, Failure, OutputObject, Runtime, Task, TaskSpec } from "@spear/shared/task.ts";
import { runtimeOf, specDefaults } from "@spear/shared/task.ts";

/** What a task takes from a node, in whole numbers that Lua adds up exactly. */
export interface Need {
  cpuMilli: number;
  memoryBytes: number;
  extras: Readonly<Record<string, number>>;
}

/** What a spec needs, defaults filled in. */
export function needOf(spec: TaskSpec): Need {
  return {
    cpuMilli: Math.round((spec.resources?.cpu ?? specDefaults.cpu) * 1000),
    memoryBytes: spec.resources?.memoryBytes ?? specDefaults.memoryBytes,
    extras: spec.resources?.extras ?? {},
  };
}

/** `{gpu: 1}` → "gpu=1", names in order, as the scripts read it. */
export function extrasText(extras: Readonly<Record<string, number>>): string {
  return Object.entries(extras)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, count]) => `${name}=${count}`)
    .join(" ");
}

/** How a task heeds the others of its job: not, by spreading, or by being alone on its node. */
export function heedOf(spec: TaskSpec): "" | "s" | "a" {
  if (spec.antiAffinity === "job") return "a";
  return spec.spread === undefined ? "" : "s";
}

/**
 * The class of equal need: tasks of one class fit on the same nodes, so that if
 * one can't be placed, none can, however many wait. Those of one class have one
 * priority, so that the first of each is the one to preempt for. Tasks that heed their
 * job's others make a class of each job; `jobId` is needed for these only.
 */
export function classOf(spec: TaskSpec, jobId: JobId | undefined): string {
  const need = needOf(spec);
  const text = JSON.stringify([
    runtimeOf(spec),
    need.cpuMilli,
    need.memoryBytes,
    extrasText(need.extras),
    spec.nodeId ?? "",
    spec.constraints ?? [],
    spec.affinities ?? [],
    spec.sandbox ?? "",
    priorityOf(spec),
    ...(heedOf(spec) === "" ? [] : [jobId, spec.spread?.label ?? "", heedOf(spec)]),
  ]);
  return Bun.hash(text).toString(36);
}

/** Waiting time that one point of priority is worth, in milliseconds (ageing). */
const priorityPointMs = 10_000;

/**
 * Rank among those that wait; the lowest goes first. It never changes: a point of
 * priority is a fixed head start, so whatever waits long enough comes first.
 */
export function rankOf(spec: TaskSpec, createdAtMs: number): number {
  return createdAtMs - priorityOf(spec) * priorityPointMs;
}

/** 0 to 100, the default filled in. */
export function priorityOf(spec: TaskSpec): number {
  return spec.priority ?? specDefaults.priority;
}

const fields = [
  "s", "a", "n", "j", "sp", "nn", "r", "q", "ca", "aa", "sa", "fa", "x", "sg", "f", "u", "o", "fl", "cr", "cm", "nf", "nb", "cs", "ev", "pa",
] as const; // prettier-ignore
export const recordFields: string[] = [...fields];

/** Field of a record that says where an attempt's output is; see seals.ts. */
export function sealField(attempt: number): string {
  return `l${attempt}`;
}

/** A task with what only SMS needs to know of it. */
export interface TaskRecord {
  task: Task;
  /** Attempt whose outputs are being committed. */
  committing: number | undefined;
  /** Nodes that were lost or failed under it. */
  nodeFaults: number;
  /** While pending: when it may be placed at the earliest. */
  notBeforeMs: number;
  /** Session of its node in which the current attempt was claimed; see AttemptClaim. */
  claimedIn: string | undefined;
  /** While running: why its room was asked back. */
  evicting: Failure | undefined;
}

/** The record from the values of `recordFields`; undefined if there is none. */
export function decodeRecord(
  id: TaskId,
  values: readonly (string | null)[],
): TaskRecord | undefined {
  const at = (field: (typeof fields)[number]): string | undefined =>
    values[fields.indexOf(field)] ?? undefined;
  const state = at("s") as TaskState | undefined;
  if (state === undefined) return undefined;
  const number = (field: (typeof fields)[number]): number | undefined => {
    const value = at(field);
    return value === undefined ? undefined : Number(value);
  };
  const json = <T>(field: (typeof fields)[number]): T | undefined => {
    const value = at(field);
    return value === undefined ? undefined : (JSON.parse(value) as T);
  };
  const optional = <K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } =>
    (value === undefined || value === "" ? {} : { [key]: value }) as { [P in K]?: V };
  const committing = number("cm");
  const outputs =
    committing === undefined || state === "succeeded" ? (json<OutputObject[]>("o") ?? []) : [];
  return {
    committing,
    nodeFaults: number("nf") ?? 0,
    notBeforeMs: number("nb") ?? 0,
    claimedIn: at("cs"),
    evicting: state === "running" ? json<Failure>("ev") : undefined,
    task: {
      id,
      jobId: at("j") ?? jobOfOne(id),
      name: at("nn") ?? id.slice(-8).toLowerCase(),
      spec: withoutSecrets(json<TaskSpec>("sp") ?? {}),
      state,
      attempt: number("a") ?? 0,
      runtime: at("r") as Runtime,
      seq: number("q") ?? 0,
      createdAtMs: number("ca") ?? 0,
      cancelRequested: at("cr") === "1",
      outputs,
      failures: number("fl") ?? 0,
      ...optional("nodeId", at("n")),
      ...optional("assignedAtMs", number("aa")),
      ...optional("startedAtMs", number("sa")),
      ...optional("finishedAtMs", number("fa")),
      ...optional("exitCode", number("x")),
      ...optional("signal", at("sg")),
      ...optional("failure", json<Failure>("f")),
      ...optional("parentId", at("pa")),
      ...optional("usage", json<{ cpuMs: number; maxMemoryBytes: number }>("u")),
    },
  };
}

/** A spec fit to be shown: names of secrets stay, values go. */
export function withoutSecrets<S extends { secrets?: Record<string, string> }>(spec: S): S {
  if (spec.secrets === undefined) return spec;
  return {
    ...spec,
    secrets: Object.fromEntries(Object.keys(spec.secrets).map((name) => [name, "***"])),
  };
}

/** An event from its line `atMs kind task job node attempt from to reason exit`. */
export function decodeEvent(seq: number, line: string): Event {
  const [atMs, kind, taskId, jobId, nodeId, attempt, from, to, reason, exit] = line.split(" ");
  const named = <K extends string>(key: K, value: string | undefined) =>
    (value === undefined || value === "-" ? {} : { [key]: value }) as { [P in K]?: string };
  return {
    seq,
    atMs: Number(atMs),
    kind: kind ?? "",
    ...named("taskId", taskId),
    ...named("jobId", jobId),
    ...named("nodeId", nodeId),
    attempt: Number(attempt),
    from: from === "-" ? "" : (from ?? ""),
    to: to ?? "",
    reason: reason ?? "",
    ...(exit === undefined || exit === "-" ? {} : { exitCode: Number(exit) }),
  };
}

/** An entry of the event stream, as Redis gives it. */
export type StreamEntry = [id: string, fields: string[]];

/** The events of an entry, oldest first: its id has the sequence number of the last. */
export function eventsOf([id, fields]: StreamEntry): Event[] {
  const lines = (fields[1] ?? "").split("\n");
  const first = Number(id.slice(0, id.indexOf("-"))) - lines.length + 1;
  return lines.map((line, index) => decodeEvent(first + index, line));
}

/** The events of a task from the fields of its record, oldest first. */
export function decodeHistory(
  id: TaskId,
  fields: Iterable<readonly [field: string, value: string]>,
): Event[] {
  const events: Event[] = [];
  let jobId: string = jobOfOne(id);
  for (const [field, value] of fields) {
    if (field === "j") jobId = value;
    else if (/^h\d+$/.test(field)) events.push(decodeEvent(Number(field.slice(1)), value));
  }
  return events.map((event) => ({ ...event, taskId: id, jobId })).toSorted((a, b) => a.seq - b.seq);
}

/** The attempt that submits a task by a hostcall. */
export interface Parent {
  taskId: TaskId;
  attempt: number;
  /** The child is not cancelled with it. */
  detached: boolean;
}

/** What `submit` writes. */
export interface NewTask {
  id: TaskId;
  jobId: JobId;
  spec: TaskSpec;
  idempotencyKey: string | undefined;
  /** Node to try at once. */
  nodeId: NodeId | undefined;
  parent?: Parent;
}

/** What `adopt` writes. */
export interface Adoption {
  id: TaskId;
  spec: TaskSpec;
  nodeId: NodeId;
  attempt: number;
  /** When the node accepted it and when it began; milliseconds since 1970. */
  submittedAtMs: number;
  startedAtMs: number;
  idempotencyKey: string | undefined;
  /** What follows from its end, if it has ended. */
  end: AfterEnd | undefined;
  set: Readonly<Record<string, string | number>>;
}

/** The change of a record that follows from the end of an attempt. */
export interface AfterEnd {
  to: TaskState;
  reason: string;
  /** For `pending`: not before this time. */
  notBeforeMs?: number;
  exitCode?: number;
  /** Fields of the record to write. */
  set: Readonly<Record<string, string | number>>;
}

/** What `submit` did. */
export interface Submitted {
  created: boolean;
  id: TaskId;
  state: TaskState;
  attempt: number;
  /** Node it was assigned to. */
  nodeId: NodeId | undefined;
  /** Sequence number of its last event. */
  seq: number;
  atMs: number;
}

/** The task as its submit left it. */
export function newTask(submitted: Submitted, spec: TaskSpec, parent?: Parent): Task {
  const { id, state, attempt, nodeId, seq, atMs } = submitted;
  return {
    id,
    jobId: jobOfOne(id),
    name: nameOf(id, spec),
    spec: withoutSecrets(spec),
    state,
    attempt,
    runtime: runtimeOf(spec),
    seq,
    createdAtMs: atMs,
    cancelRequested: false,
    outputs: [],
    failures: 0,
    ...(parent === undefined ? {} : { parentId: parent.taskId }),
    ...(nodeId === undefined ? {} : { nodeId, assignedAtMs: atMs }),
  };
}

/** A task's name: the spec's, else the tail of its id. */
export function nameOf(id: TaskId, spec: TaskSpec): string {
  return spec.name ?? id.slice(-8).toLowerCase();
}
