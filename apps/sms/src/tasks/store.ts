/**
 * The port of task records. Every change is one atomic step that checks the state
 * machine and the attempt, and writes record, indexes, reservation and event
 * together (T2–T5). Redis holds them in production, memory in the simulation; one
 * contract suite holds both to the same answers.
 */
import type { JobId, NodeId, TaskId } from "@spear/shared/ids.ts";
import type { TaskState } from "@spear/shared/state.ts";
import type { Event, Failure, OutputObject, TaskSpec } from "@spear/shared/task.ts";
import type { Adoption, NewTask, Submitted, TaskRecord } from "./record.ts";

/** A change that is asked for. */
export interface Transition {
  id: TaskId;
  to: TaskState;
  /** Attempt that must be current. */
  attempt?: number;
  /** Target of an assignment; else the node that must hold the attempt. */
  nodeId?: NodeId;
  reason: string;
  /** For `pending`: not before this time. */
  notBeforeMs?: number;
  exitCode?: number;
  /** Fields of the record to write. */
  set?: Readonly<Record<string, string | number>>;
}

/** What became of a change; the codes are explained in transition.lua. */
export interface Outcome {
  code: "ok" | "missing" | "stale" | "again" | "illegal" | "committing" | "no_capacity";
  attempt: number;
  nodeId: NodeId;
  /** State before if ok, else the current one. */
  state: TaskState;
}

/** What became of an adoption; the codes are explained in adopt.lua. */
export type AdoptCode = "ok" | "known" | "behind" | "stale" | "no_capacity";

export type CommitCode = "ok" | "missing" | "stale" | "illegal";

export interface CancelOutcome {
  code: "cancelled" | "requested" | "terminal" | "missing";
  nodeId: NodeId;
  attempt: number;
}

/** What became of a wish for room; the codes are explained in evicting.lua. */
export interface EvictOutcome {
  code: "evicted" | "requested" | "again" | "stale" | "missing";
  attempt: number;
}

/** Room that a task of higher priority is to get. */
export interface Preemption {
  nodeId: NodeId;
  /** Waits, and gets the room. */
  taskId: TaskId;
  /** Until when it is kept. */
  untilMs: number;
  failure: Failure;
  victims: readonly { id: TaskId; attempt: number }[];
}

/** stale: something was no longer as it was seen, and nothing was done. */
export type PreemptCode = "ok" | "stale";

/** A class with waiting tasks: its first and that one's rank. */
export interface Waiting {
  class: string;
  head: TaskId;
  rank: number;
}

export interface RecordStore {
  /** Creates a task; assigns it at once where `task.nodeId` has room. */
  submit(task: NewTask, nowMs: number): Promise<Submitted>;
  /** Makes the record of an attempt of which only its node knew. */
  adopt(adoption: Adoption, nowMs: number): Promise<AdoptCode>;
  transition(change: Transition, nowMs: number): Promise<Outcome>;
  /** Makes this attempt the only one that may commit outputs (T3). */
  beginCommit(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    outputs: string,
    nowMs: number,
    set: Readonly<Record<string, string | number>>,
  ): Promise<CommitCode>;
  /** Asks a task to end. */
  cancel(id: TaskId, nowMs: number): Promise<CancelOutcome>;
  /** Asks for the room of an attempt back, at no cost for its task; `failure` says why. */
  evict(id: TaskId, attempt: number, failure: Failure, nowMs: number): Promise<EvictOutcome>;
  /** Takes room for a task of higher priority: of all victims, or of none. */
  preempt(preemption: Preemption, nowMs: number): Promise<PreemptCode>;
  /** Moves delayed tasks whose time has come; the number moved, at most `limit`. */
  promote(nowMs: number, limit: number): Promise<number>;
  /** Removes single tasks whose retention has passed; the number removed, at most `limit`. */
  removeExpired(nowMs: number, limit: number): Promise<number>;
  /** When the next delayed task is due; undefined if none is. */
  nextDueMs(): Promise<number | undefined>;
  get(id: TaskId): Promise<TaskRecord | undefined>;
  /** Many records, in the order of `ids`; what is gone is left out. Call with at most 1,000. */
  getMany(ids: readonly TaskId[]): Promise<TaskRecord[]>;
  /** The spec as submitted, secrets included: for the node, never to be shown. */
  spec(id: TaskId): Promise<TaskSpec | undefined>;
  /** Outputs whose commit has begun and not ended; undefined if there is no such commit. */
  stagedOutputs(id: TaskId): Promise<OutputObject[] | undefined>;
  /** All events of one task, oldest first; undefined if there is no such task. */
  history(id: TaskId): Promise<Event[] | undefined>;
  /** Ids below `before` (exclusive), newest first, of one state or of all. */
  idsBefore(
    state: TaskState | undefined,
    before: string | undefined,
    limit: number,
  ): Promise<TaskId[]>;
  /** Ids above `after` (exclusive), oldest first, of one state. */
  idsAfter(state: TaskState, after: string | undefined, limit: number): Promise<TaskId[]>;
  /** How many of a job's tasks that heed each other hold room, by node. */
  siblings(job: JobId): Promise<Map<NodeId, number>>;
  /** Tasks that hold capacity on a node. */
  heldBy(nodeId: NodeId): Promise<TaskId[]>;
  countIn(state: TaskState): Promise<number>;
  /** Classes with waiting tasks, lowest rank first: `limit` of them from the `offset`th on. */
  waitingClasses(offset: number, limit: number): Promise<Waiting[]>;
  /** How many of its class wait before a task; undefined if it does not wait for a node. */
  aheadOf(id: TaskId): Promise<number | undefined>;
  /** The first `limit` waiting tasks of a class with their ranks. */
  waiting(cls: string, limit: number): Promise<{ id: TaskId; rank: number }[]>;
}
