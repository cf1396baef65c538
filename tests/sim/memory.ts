/**
 * SMS's records in memory: what the scripts do to Redis, step for step, for the
 * simulation. One contract suite holds both to the same answers.
 */
import type { JobId, NodeId, TaskId } from "@spear/shared/ids.ts";
import { isTerminal, taskStates, type TaskState } from "@spear/shared/state.ts";
import { defaultRetentionMs } from "@spear/shared/job.ts";
import { exclusiveStopMs } from "@spear/shared/lease.ts";
import type { Event, TaskSpec } from "@spear/shared/task.ts";
import { decodeEvent } from "../../apps/sms/src/tasks/record.ts";
import { Ranked } from "./ranked.ts";

/** Bugs to be planted on purpose, so that a test can show that they are found. */
export type Bug = "release_twice" | "no_fencing" | "lost_event" | "no_exclusion";

/** A hash of Redis: fields as in common.lua. */
export type Fields = Map<string, string>;

export const numberAt = (fields: Fields, name: string): number => Number(fields.get(name) ?? 0);

/** What a node itself says of the end of an attempt. */
const toldByNode = new Set([
  "retry", "node_fault", "refused", "node_restarted", "preempted", "drained",
]); // prettier-ignore

/** One event in a hundred is lost where that bug is planted. */
const lostEvery = 100;

/** "gpu=1 fpga=2" → pairs. */
export function extrasOf(text: string): [name: string, count: number][] {
  return [...text.matchAll(/([\w-]+)=(\d+)/g)].map(([, name, count]) => [
    name as string,
    Number(count),
  ]);
}

/** What a task takes of a node, from its record. */
export interface Taken {
  task: TaskId;
  record: Fields;
}

export class MemoryState {
  readonly bug: Bug | undefined;
  readonly tasks = new Map<TaskId, Fields>();
  readonly nodes = new Map<NodeId, Fields>();
  readonly allTasks = new Ranked<TaskId>();
  readonly tasksIn: Record<TaskState, Ranked<TaskId>>;
  readonly nodeIds = new Ranked<NodeId>();
  readonly idempotency = new Map<string, TaskId>();
  readonly pending = new Map<string, Ranked<TaskId>>();
  readonly pendingClasses = new Ranked();
  readonly delayed = new Ranked<TaskId>();
  /** Tasks that have ended, by when they are removed. */
  readonly expiring = new Ranked<TaskId>();
  readonly nodeTasks = new Map<NodeId, Set<TaskId>>();
  readonly jobNodes = new Map<JobId, Map<NodeId, number>>();
  readonly leases = new Ranked<NodeId>();
  /** What nodes used, newest first. */
  readonly nodeUsage = new Map<NodeId, string[]>();
  /** Nodes whose lease key has not run out, and when it will by the store's own clock. */
  readonly leaseKeys = new Map<NodeId, number>();
  /** Epoch of the leader; undefined before the first. */
  leaderEpoch: number | undefined;
  readonly #nowMs: () => number;
  #seq = 0;
  /** Called with each event that reaches the stream. */
  onEvent: (event: Event) => void = () => undefined;

  /** `nowMs`: the clock that the store itself has for what expires. */
  constructor(nowMs: () => number, bug?: Bug) {
    this.#nowMs = nowMs;
    this.bug = bug;
    this.tasksIn = Object.fromEntries(
      taskStates.map((state) => [state, new Ranked<TaskId>()]),
    ) as Record<TaskState, Ranked<TaskId>>;
  }

  leaseAlive(id: NodeId): boolean {
    return (this.leaseKeys.get(id) ?? 0) > this.#nowMs();
  }

  lease(id: NodeId, nowMs: number, leaseMs: number): void {
    this.nodes.get(id)?.set("lu", String(this.#nowMs() + leaseMs));
    this.leaseKeys.set(id, this.#nowMs() + leaseMs);
    this.leases.add(id, nowMs + leaseMs);
  }

  heldOn(id: NodeId): Set<TaskId> {
    let held = this.nodeTasks.get(id);
    if (held === undefined) this.nodeTasks.set(id, (held = new Set()));
    return held;
  }

  siblingsOf(job: JobId): Map<NodeId, number> {
    let nodes = this.jobNodes.get(job);
    if (nodes === undefined) this.jobNodes.set(job, (nodes = new Map()));
    return nodes;
  }

  /** Appends an event, and writes it into the history of its task; empty members are "-". */
  emit(nowMs: number, record: Fields | undefined, ...members: (string | number)[]): number {
    const seq = ++this.#seq;
    const text = [nowMs, ...members].map((member) => (member === "" ? "-" : member)).join(" ");
    if (this.bug !== "lost_event" || seq % lostEvery !== 0) {
      this.onEvent(decodeEvent(seq, text));
    }
    record?.set(`h${seq}`, text);
    record?.set("q", String(seq));
    return seq;
  }

  /** When a task that was taken from a node may start elsewhere, if it has to wait for that. */
  exclusiveUntil(record: Fields, nodeId: NodeId, reason: string): number | undefined {
    if (toldByNode.has(reason) || this.bug === "no_exclusion") return undefined;
    const spec = JSON.parse(record.get("sp") ?? "{}") as TaskSpec;
    if (spec.exclusive !== true) return undefined;
    const lease = numberAt(this.nodes.get(nodeId) ?? new Map<string, string>(), "lu");
    return Math.max(this.#nowMs(), lease) + exclusiveStopMs;
  }

  /** True while it may not start although it waits; by the store's own clock. */
  isExcluded(record: Fields): boolean {
    return numberAt(record, "xu") > this.#nowMs();
  }

  /** How far from now a time of the store's own clock is. */
  untilMs(atMs: number): number {
    return atMs - this.#nowMs();
  }

  /** Takes what a task needs from a node; false and nothing taken if it does not fit (T4). */
  reserve(nodeId: NodeId, { task, record }: Taken, nowMs: number): boolean {
    const node = this.nodes.get(nodeId);
    if (node?.get("st") !== "ready" || node.has("co")) return false;
    const heldFor = node.get("hf");
    if (heldFor !== undefined && heldFor !== task && numberAt(node, "hu") > nowMs) return false;
    const heeds = record.get("g") ?? "";
    const siblings = this.siblingsOf(record.get("j") as JobId);
    if (heeds === "a" && siblings.has(nodeId)) return false;
    const wants: [used: string, capacity: string, count: number][] = [
      ["uc", "cc", numberAt(record, "nc")],
      ["um", "cm", numberAt(record, "nm")],
      ["us", "cs", 1],
      ...extrasOf(record.get("nx") ?? "").map(
        ([name, count]) => [`ux:${name}`, `cx:${name}`, count] as [string, string, number],
      ),
    ];
    for (const [used, capacity, count] of wants) {
      if (numberAt(node, used) + count > numberAt(node, capacity)) return false;
    }
    for (const [used, , count] of wants) node.set(used, String(numberAt(node, used) + count));
    if (heldFor === task) {
      node.delete("hf");
      node.delete("hu");
    }
    this.heldOn(nodeId).add(task);
    if (heeds !== "") siblings.set(nodeId, (siblings.get(nodeId) ?? 0) + 1);
    return true;
  }

  /** Gives back what a task holds of a node. */
  release(nodeId: NodeId, { task, record }: Taken): void {
    const held = this.heldOn(nodeId).delete(task);
    if (!held && this.bug !== "release_twice") return;
    const siblings = this.siblingsOf(record.get("j") as JobId);
    if ((record.get("g") ?? "") !== "") {
      const left = (siblings.get(nodeId) ?? 0) - 1;
      if (left === 0) siblings.delete(nodeId);
      else siblings.set(nodeId, left);
    }
    const node = this.nodes.get(nodeId);
    if (node === undefined) return;
    const give = (used: string, count: number) =>
      node.set(used, String(numberAt(node, used) - count));
    give("uc", numberAt(record, "nc"));
    give("um", numberAt(record, "nm"));
    give("us", 1);
    for (const [name, count] of extrasOf(record.get("nx") ?? "")) give(`ux:${name}`, count);
  }

  #rankClass(cls: string): void {
    const waiting = this.pending.get(cls);
    const [head] = waiting?.slice(0, 1) ?? [];
    if (waiting === undefined || head === undefined) {
      this.pendingClasses.delete(cls);
      this.pending.delete(cls);
    } else this.pendingClasses.add(cls, waiting.scoreOf(head) as number);
  }

  /** Puts a task among those that wait for a node, or for a time first. */
  awaitNode({ task, record }: Taken, notBeforeMs: number, nowMs: number): void {
    if (notBeforeMs > nowMs) {
      this.delayed.add(task, notBeforeMs);
      return;
    }
    const cls = record.get("c") as string;
    let waiting = this.pending.get(cls);
    if (waiting === undefined) this.pending.set(cls, (waiting = new Ranked()));
    waiting.add(task, numberAt(record, "k"));
    this.#rankClass(cls);
  }

  /** Takes a task from those that wait. */
  noLongerWaits({ task, record }: Taken): void {
    const cls = record.get("c") as string;
    if (this.pending.get(cls)?.delete(task) === true) this.#rankClass(cls);
    else this.delayed.delete(task);
  }

  /** Moves a task from one index of states to another. */
  reindex({ task, record }: Taken, from: TaskState, to: TaskState, nowMs: number): void {
    this.tasksIn[from].delete(task);
    this.tasksIn[to].add(task, 0);
    if (!isTerminal(to)) return;
    const retentionMs = record.has("rt") ? numberAt(record, "rt") : defaultRetentionMs;
    this.expiring.add(task, nowMs + retentionMs);
  }
}
