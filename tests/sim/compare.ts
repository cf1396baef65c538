/**
 * A recorded run under another policy: the same tasks come at the same times and run as
 * long as they did, but SMS's real placement puts them where the policy says, over nodes
 * that do not fail. What a policy does to waits, spread and utilisation is then seen side
 * by side with what was recorded.
 */
import type { JobId, NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Node } from "@spear/shared/node.ts";
import type { Event, Task } from "@spear/shared/task.ts";
import {
  type Demand,
  demandOf,
  inputsOf,
  type Policy,
} from "../../apps/sms/src/scheduler/place.ts";
import { Placer } from "../../apps/sms/src/scheduler/placer.ts";
import { viewOf } from "../../apps/sms/src/scheduler/view.ts";
import { classOf, heedOf, needOf, rankOf } from "../../apps/sms/src/tasks/record.ts";

/** What `bun run sim record` writes, a line each. */
export type Line = { node: Node } | { task: Task } | { event: Event };

export interface Recording {
  nodes: Node[];
  tasks: Map<string, Task>;
  events: Event[];
}

/** Throws if a line is none of a recording. */
export function parseRecording(text: string): Recording {
  const recording: Recording = { nodes: [], tasks: new Map(), events: [] };
  for (const [index, row] of text.split("\n").entries()) {
    if (row === "") continue;
    const line = JSON.parse(row) as Partial<Record<"node" | "task" | "event", unknown>>;
    if (line.node !== undefined) recording.nodes.push(line.node as Node);
    else if (line.task !== undefined)
      recording.tasks.set((line.task as Task).id, line.task as Task);
    else if (line.event !== undefined) recording.events.push(line.event as Event);
    else throw new Error(`line ${index + 1} is not of a recording`);
  }
  return recording;
}

/** One task as it ran: when it came, where it ran last, from when and how long. */
export interface Ran {
  task: Task;
  cameMs: number;
  nodeId: string;
  startedMs: number;
  runMs: number;
}

/** The tasks that ran to an end, in the order in which they came. */
export function ranOf({ tasks, events }: Recording): Ran[] {
  const came = new Map<string, number>();
  const began = new Map<string, Event>();
  const ran: Ran[] = [];
  for (const event of events) {
    const { taskId } = event;
    const task = taskId === undefined ? undefined : tasks.get(taskId);
    if (event.kind !== "task.state" || taskId === undefined || task === undefined) continue;
    if (event.from === "") came.set(taskId, event.atMs);
    if (event.to === "running") began.set(taskId, event);
    const start = began.get(taskId);
    if (event.from !== "running" || event.to === "pending" || start === undefined) continue;
    const cameMs = came.get(taskId) ?? task.createdAtMs;
    const [startedMs, runMs] = [start.atMs, event.atMs - start.atMs];
    ran.push({ task, cameMs, nodeId: start.nodeId ?? "", startedMs, runMs });
  }
  return ran.toSorted((a, b) => a.cameMs - b.cameMs);
}

export interface Figures {
  tasks: number;
  /** Times from the submit to the start, in milliseconds. */
  waitP50Ms: number;
  waitP99Ms: number;
  waitMaxMs: number;
  /** From the first submit to the last end, in milliseconds. */
  spanMs: number;
  /** Nodes that ran anything. */
  nodesUsed: number;
  /** Standard deviation of the nodes' utilisation over its mean; 0: all are loaded alike. */
  unevenness: number;
  /** Part of the nodes' CPU that was reserved over the span. */
  utilisation: number;
}

/** What a run comes to. */
export function figuresOf(ran: readonly Ran[], nodes: readonly Node[]): Figures {
  const waits = ran.map(({ cameMs, startedMs }) => startedMs - cameMs).toSorted((a, b) => a - b);
  const at = (part: number) =>
    waits[Math.min(waits.length - 1, Math.floor(waits.length * part))] ?? 0;
  const first = Math.min(...ran.map(({ cameMs }) => cameMs));
  const last = Math.max(...ran.map(({ startedMs, runMs }) => startedMs + runMs));
  const spanMs = ran.length === 0 ? 0 : last - first;
  const busy = new Map<string, number>(nodes.map(({ id }) => [id, 0]));
  for (const { task, nodeId, runMs } of ran)
    busy.set(nodeId, (busy.get(nodeId) ?? 0) + needOf(task.spec).cpuMilli * runMs);
  const parts = nodes.map(({ id, capacity }) =>
    spanMs === 0 ? 0 : (busy.get(id) ?? 0) / (capacity.cpu * 1_000 * spanMs),
  );
  const mean = parts.reduce((sum, part) => sum + part, 0) / Math.max(1, parts.length);
  const variance =
    parts.reduce((sum, part) => sum + (part - mean) ** 2, 0) / Math.max(1, parts.length);
  const cpu = nodes.reduce((sum, { capacity }) => sum + capacity.cpu, 0);
  const used = [...busy.values()].reduce((sum, one) => sum + one, 0);
  return {
    tasks: ran.length,
    waitP50Ms: at(0.5),
    waitP99Ms: at(0.99),
    waitMaxMs: waits.at(-1) ?? 0,
    spanMs,
    nodesUsed: new Set(ran.map(({ nodeId }) => nodeId)).size,
    unevenness: mean === 0 ? 0 : Math.sqrt(variance) / mean,
    utilisation: spanMs === 0 ? 0 : used / (cpu * 1_000 * spanMs),
  };
}

interface Waiting {
  ran: Ran;
  demand: Demand;
  cls: string;
  rank: number;
}

/** The tasks again, placed by that policy. What no node could ever take is left out. */
export function replay(ran: readonly Ran[], nodes: readonly Node[], policy: Policy): Ran[] {
  const placer = new Placer(policy);
  for (const node of nodes) {
    const reserved = { cpu: 0, memoryBytes: 0, slots: 0, extras: {} };
    placer.set(viewOf({ ...node, state: "ready", reserved }, node.registeredAtMs));
  }
  const siblings = new Map<string, Map<NodeId, number>>();
  const siblingsOf = ({ task }: Ran) => {
    if (heedOf(task.spec) === "") return new Map<NodeId, number>();
    const of = siblings.get(task.jobId) ?? new Map<NodeId, number>();
    siblings.set(task.jobId, of);
    return of;
  };
  const done: Ran[] = [];
  const ends: { atMs: number; end: () => void }[] = [];
  let waiting: Waiting[] = [];
  const place = (nowMs: number) => {
    const full = new Set<string>();
    waiting = waiting.filter(({ ran: one, demand, cls }) => {
      // If one of a class fits nowhere, none does.
      if (full.has(cls)) return true;
      const beside = siblingsOf(one);
      const inputs = inputsOf(one.task.spec);
      const circumstances = { taskId: one.task.id as TaskId, siblings: beside, inputs };
      const nodeId = placer.choose(cls, demand, circumstances);
      if (nodeId === undefined) {
        full.add(cls);
        return true;
      }
      placer.adjust(nodeId, demand, 1);
      beside.set(nodeId, (beside.get(nodeId) ?? 0) + 1);
      done.push({ ...one, nodeId, startedMs: nowMs });
      const end = () => {
        placer.adjust(nodeId, demand, -1);
        const left = (beside.get(nodeId) ?? 0) - 1;
        if (left > 0) beside.set(nodeId, left);
        else beside.delete(nodeId);
      };
      ends.push({ atMs: nowMs + one.runMs, end });
      return false;
    });
  };
  const arrivals = ran.values();
  let next = arrivals.next();
  for (;;) {
    ends.sort((a, b) => b.atMs - a.atMs);
    const cameMs = next.done === true ? Infinity : next.value.cameMs;
    const soonest = ends.at(-1)?.atMs ?? Infinity;
    const nowMs = Math.min(cameMs, soonest);
    if (nowMs === Infinity) return done;
    while ((ends.at(-1)?.atMs ?? Infinity) <= nowMs) ends.pop()?.end();
    while (next.done !== true && next.value.cameMs <= nowMs) {
      const one = next.value;
      const { spec, jobId } = one.task;
      const rank = rankOf(spec, one.cameMs);
      waiting.push({ ran: one, demand: demandOf(spec), cls: classOf(spec, jobId as JobId), rank });
      next = arrivals.next();
    }
    waiting.sort((a, b) => a.rank - b.rank);
    place(nowMs);
  }
}

/** The figures side by side, for people. */
export function table(columns: Readonly<Record<string, Figures>>): string {
  const ms = (value: number) => `${Math.round(value)} ms`;
  const percent = (value: number) => `${(value * 100).toFixed(1)} %`;
  const rows: [string, (figures: Figures) => string][] = [
    ["tasks that ran", ({ tasks }) => String(tasks)],
    ["wait p50", ({ waitP50Ms }) => ms(waitP50Ms)],
    ["wait p99", ({ waitP99Ms }) => ms(waitP99Ms)],
    ["longest wait", ({ waitMaxMs }) => ms(waitMaxMs)],
    ["first submit to last end", ({ spanMs }) => ms(spanMs)],
    ["nodes used", ({ nodesUsed }) => String(nodesUsed)],
    ["unevenness of nodes", ({ unevenness }) => unevenness.toFixed(2)],
    ["CPU reserved", ({ utilisation }) => percent(utilisation)],
  ];
  const lines = [
    ["", ...Object.keys(columns)],
    ...rows.map(([name, show]) => [name, ...Object.values(columns).map(show)]),
  ];
  const widths = (lines[0] ?? []).map((_, at) =>
    Math.max(...lines.map((line) => (line[at] ?? "").length)),
  );
  return lines
    .map((line) =>
      line
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
