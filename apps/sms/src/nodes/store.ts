/**
 * The port of node records: standing, lease and what is reserved. It shares its
 * state with the task records' store, which takes and gives back capacity (T4).
 */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type {
  Capacity,
  Node,
  NodeFacts,
  NodeState,
  NodeUsage,
  RuntimeInfo,
  UsageSample,
} from "@spear/shared/node.ts";

/** What a node says of itself when it registers. */
export interface Registration {
  id: NodeId;
  name: string;
  incarnation: string;
  httpAddress: string;
  grpcAddress: string;
  capacity: Capacity;
  labels: Record<string, string>;
  runtimes: RuntimeInfo[];
  facts: NodeFacts;
}

/** Time in which half of a node's losses are forgotten, in milliseconds. */
export const lossHalfLifeMs = 600_000;

export type RegisterCode = "new" | "same" | "restarted";
export type HeartbeatCode = "ok" | "missing" | "stale" | "down";
/** `deposed`: the caller no longer leads. */
export type StandingCode = "ok" | "again" | "missing" | "stale" | "alive" | "deposed";

/** What has to hold for a change of standing. */
export interface OnlyIf {
  incarnation?: string;
  /** Its lease has run out. */
  ifExpired?: boolean;
  /** The leader's epoch is still this one. */
  epoch?: number;
}

/** Time between two samples of a node's usage that are kept, in milliseconds. */
export const usageEveryMs = 30_000;
/** Samples that are kept: an hour. */
export const usageKept = 120;
/** Labels that may be set or hidden over a node's own. */
export const maxLabels = 64;

/** `gone`: it is down or has left. */
export type DrainCode = "ok" | "missing" | "gone";
export type CordonCode = "ok" | "again" | "missing";
export type LabelCode = "ok" | "missing" | "too_many";

/** Labels to put over a node's own, and to take away. */
export interface LabelChange {
  set: Readonly<Record<string, string>>;
  remove: readonly string[];
}

/** `taken`: the node takes no tasks, or is held for another one. */
export type HoldCode = "ok" | "taken" | "missing";

export interface NodeStore {
  register(node: Registration, nowMs: number, leaseMs: number): Promise<RegisterCode>;
  /** Renews the lease. `revive` makes a node that was given up ready again. */
  heartbeat(
    id: NodeId,
    incarnation: string,
    usage: NodeUsage | undefined,
    nowMs: number,
    leaseMs: number,
    revive?: boolean,
  ): Promise<HeartbeatCode>;
  /** Changes the standing. */
  setState(
    id: NodeId,
    to: NodeState,
    reason: string,
    nowMs: number,
    only?: OnlyIf,
  ): Promise<StandingCode>;
  /** Drains a node, what is left being moved at `untilMs` (0: never), or takes that back (undefined). */
  drain(id: NodeId, untilMs: number | undefined, nowMs: number): Promise<DrainCode>;
  /** Lets nothing new onto a node, or takes that back. */
  cordon(id: NodeId, on: boolean, nowMs: number): Promise<CordonCode>;
  /** Sets and removes labels over the node's own; they outlive its restarts. */
  label(id: NodeId, change: LabelChange, nowMs: number): Promise<LabelCode>;
  /** What a node used in the last hour, oldest first; empty if there is none. */
  usage(id: NodeId): Promise<UsageSample[]>;
  /** Keeps a ready node's room for one waiting task: until then no other is placed there. */
  hold(id: NodeId, task: TaskId, untilMs: number, nowMs: number): Promise<HoldCode>;
  /** All node ids, oldest first. */
  ids(): Promise<NodeId[]>;
  /** Nodes whose lease should have run out by now; at most 1,000. */
  expired(nowMs: number): Promise<NodeId[]>;
  get(id: NodeId): Promise<Node | undefined>;
  list(): Promise<Node[]>;
}
