/**
 * Choosing a node: a pure, total function of what a task needs and what is known
 * of the nodes. It answers with a node and its score, or with the reason that ruled
 * out each. `Placer` answers the same faster; this is what it is held to.
 *
 * Scores are whole points, so that sums are exact and every replica gets the same.
 */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Runtime, TaskSpec } from "@spear/shared/task.ts";
import { runtimeOf } from "@spear/shared/task.ts";
import { type Need, needOf } from "../tasks/record.ts";
import { type Attributes, type Constraint, holds, parseConstraint } from "./constraint.ts";

/** A node as placement sees it. */
export interface NodeView {
  readonly id: NodeId;
  readonly name: string;
  /** It takes tasks. */
  readonly ready: boolean;
  /** That is why it takes none. */
  readonly cordoned: boolean;
  readonly runtimes: ReadonlySet<string>;
  readonly attributes: Attributes;
  readonly capacity: Room;
  /** What is reserved; changed as tasks come and go. */
  reserved: Room;
  /** Points that recent losses cost it. */
  readonly penalty: number;
  /** Objects, images and modules that it need not fetch. */
  readonly cached: ReadonlySet<string>;
  /** The one task that its room is kept for. */
  readonly heldFor: TaskId | undefined;
}

export interface Room {
  cpuMilli: number;
  memoryBytes: number;
  slots: number;
  extras: Readonly<Record<string, number>>;
}

/** What a class of tasks asks of a node, read once from a spec. */
export interface Demand {
  readonly runtime: Runtime;
  readonly need: Need;
  readonly extras: readonly (readonly [name: string, count: number])[];
  readonly nodeId: string | undefined;
  readonly constraints: readonly Constraint[];
  readonly affinities: readonly { constraint: Constraint; weight: number }[];
  /** Node label over whose values the job's tasks are evened out. */
  readonly spreadLabel: string | undefined;
  /** Never on a node that has one of the job's tasks that ask the same. */
  readonly alone: boolean;
}

/** What tells apart tasks of one class, or one moment from another. */
export interface Circumstances {
  /** Undefined before it is submitted. */
  readonly taskId: TaskId | undefined;
  /** How many of its job's tasks that heed each other hold room, by node. */
  readonly siblings: ReadonlyMap<NodeId, number>;
  /** Objects, image and module that it will want on its node. */
  readonly inputs: readonly string[];
}

export const noCircumstances: Circumstances = {
  taskId: undefined,
  siblings: new Map(),
  inputs: [],
};

/** Throws `invalid_argument` for a condition that can't be read. */
export function demandOf(spec: TaskSpec, root = "spec"): Demand {
  const need = needOf(spec);
  return {
    runtime: runtimeOf(spec),
    need,
    extras: Object.entries(need.extras),
    nodeId: spec.nodeId,
    constraints: (spec.constraints ?? []).map((text, index) =>
      parseConstraint(text, `${root}.constraints.${index}`),
    ),
    affinities: (spec.affinities ?? []).map(({ constraint, weight }, index) => ({
      constraint: parseConstraint(constraint, `${root}.affinities.${index}.constraint`),
      weight,
    })),
    spreadLabel: spec.spread?.label,
    alone: spec.antiAffinity === "job",
  };
}

/** What a task will want on its node: the names that nodes report as `cached`. */
export function inputsOf(spec: TaskSpec): string[] {
  const inputs = (spec.inputs ?? []).map(({ object }) => object);
  if (spec.docker !== undefined) inputs.push(spec.docker.image);
  if (spec.wasm !== undefined) inputs.push(spec.wasm.module);
  return inputs;
}

export type Reason =
  | "other_node"
  | "not_ready"
  | "runtime"
  | "constraint"
  | "held"
  | "anti_affinity"
  | "cpu"
  | "memory"
  | "slots"
  | "extra";

/** Why a node can't take a task. */
export interface Refusal {
  nodeId: NodeId;
  reason: Reason;
  /** In words, as "needs 2 cpu, 0.5 free". */
  detail: string;
  /** The condition that fails, or the extra that is short. */
  subject?: string;
  /** What is free of it, for cpu (milli), memory (bytes) and extras. */
  free?: number;
}

export type Policy = "binpack" | "spread";

export interface Placement {
  nodeId: NodeId | undefined;
  /** Score of the chosen node in points, by part. */
  score: Readonly<Record<string, number>>;
  /** One for each node, where none was chosen. */
  refusals: readonly Refusal[];
}

/** Conditions of the node itself, which tasks that come and go don't change. */
function* unsuitable(demand: Demand, node: NodeView): Generator<Refusal> {
  const { id: nodeId } = node;
  if (demand.nodeId !== undefined && demand.nodeId !== nodeId)
    yield { nodeId, reason: "other_node", detail: `only ${demand.nodeId} will do` };
  if (!node.ready)
    yield {
      nodeId,
      reason: "not_ready",
      detail: node.cordoned ? "is cordoned" : "takes no tasks now",
    };
  if (!node.runtimes.has(demand.runtime))
    yield { nodeId, reason: "runtime", detail: `does not offer ${demand.runtime}` };
  for (const { text, ...constraint } of demand.constraints) {
    if (!holds({ text, ...constraint }, node.attributes))
      yield { nodeId, reason: "constraint", subject: text, detail: `does not satisfy ${text}` };
  }
}

/** What of its room is short. */
function* short({ need, extras }: Demand, node: NodeView): Generator<Refusal> {
  const { id: nodeId, capacity, reserved } = node;
  const cpu = capacity.cpuMilli - reserved.cpuMilli;
  if (need.cpuMilli > cpu)
    yield {
      nodeId,
      reason: "cpu",
      free: cpu,
      detail: `needs ${need.cpuMilli / 1000} cpu, ${cpu / 1000} free`,
    };
  const memory = capacity.memoryBytes - reserved.memoryBytes;
  if (need.memoryBytes > memory)
    yield {
      nodeId,
      reason: "memory",
      free: memory,
      detail: `needs ${bytesText(need.memoryBytes)} of memory, ${bytesText(memory)} free`,
    };
  if (reserved.slots >= capacity.slots)
    yield { nodeId, reason: "slots", detail: `all ${capacity.slots} slots are taken` };
  for (const [name, count] of extras) {
    const free = (capacity.extras[name] ?? 0) - (reserved.extras[name] ?? 0);
    if (count > free)
      yield {
        nodeId,
        reason: "extra",
        subject: name,
        free,
        detail: `needs ${count} ${name}, ${free} free`,
      };
  }
}

/** Every reason against the node, the most lasting first; none if it can take the task. */
export function* refusalsOf(
  demand: Demand,
  node: NodeView,
  { taskId, siblings }: Circumstances,
): Generator<Refusal> {
  const { id: nodeId } = node;
  yield* unsuitable(demand, node);
  if (node.heldFor !== undefined && node.heldFor !== taskId)
    yield { nodeId, reason: "held", detail: `its room is kept for ${node.heldFor}` };
  if (demand.alone && (siblings.get(nodeId) ?? 0) > 0)
    yield { nodeId, reason: "anti_affinity", detail: "has a task of the same job" };
  yield* short(demand, node);
}

/** True if nothing lasting speaks against the node. */
export function suits(demand: Demand, node: NodeView): boolean {
  return unsuitable(demand, node).next().done === true;
}

/** True if the task would fit into the node if it were empty. */
export function fitsEmpty(demand: Demand, { capacity }: NodeView): boolean {
  return hasRoom(demand, capacity, { cpuMilli: 0, memoryBytes: 0, slots: 0, extras: {} });
}

/** True if what is free is enough: the same as no refusal of `short`, and quicker. */
export function hasRoom({ need, extras }: Demand, capacity: Room, reserved: Room): boolean {
  if (
    need.cpuMilli > capacity.cpuMilli - reserved.cpuMilli ||
    need.memoryBytes > capacity.memoryBytes - reserved.memoryBytes ||
    reserved.slots >= capacity.slots
  ) {
    return false;
  }
  for (const [name, count] of extras) {
    if (count > (capacity.extras[name] ?? 0) - (reserved.extras[name] ?? 0)) return false;
  }
  return true;
}

/** Points of a whole range: from an empty node to a full one, or an affinity of weight 100. */
const full = 1_000;

/** How full the node would be by its fullest resource: 1 is full, more does not fit. */
export function fullnessWith({ need }: Demand, { capacity, reserved }: NodeView): number {
  return Math.max(
    (reserved.cpuMilli + need.cpuMilli) / Math.max(1, capacity.cpuMilli),
    (reserved.memoryBytes + need.memoryBytes) / Math.max(1, capacity.memoryBytes),
    (reserved.slots + 1) / Math.max(1, capacity.slots),
  );
}

/** Points of how full the node would be: the more the better, or the less. */
export function roomPoints(demand: Demand, node: NodeView, policy: Policy): number {
  const points = Math.round(full * Math.min(1, fullnessWith(demand, node)));
  return policy === "binpack" ? points : full - points;
}

/** Points of the soft conditions that the node satisfies. */
export function affinityPoints({ affinities }: Demand, { attributes }: NodeView): number {
  let points = 0;
  for (const { constraint, weight } of affinities) {
    if (holds(constraint, attributes)) points += (weight * full) / 100;
  }
  return points;
}

/** Points of the share of the inputs that the node has already. */
function localityPoints(inputs: readonly string[], { cached }: NodeView): number {
  if (inputs.length === 0) return 0;
  const there = inputs.filter((input) => cached.has(input)).length;
  return Math.round(((full / 2) * there) / inputs.length);
}

/** Points of a label's value that has so many of the job's tasks: one more outweighs all else. */
export function spreadPoints(siblings: number): number {
  return siblings === 0 ? 0 : -full * siblings;
}

/** The value over which tasks are evened out; nodes without the label share one. */
export function spreadValueOf({ spreadLabel }: Demand, { attributes }: NodeView): string {
  return spreadLabel === undefined ? "" : (attributes(`label.${spreadLabel}`)[0] ?? "");
}

/** How many of the job's tasks each value of the spread label has. */
export function siblingsByValue(
  demand: Demand,
  nodes: readonly NodeView[],
  siblings: ReadonlyMap<NodeId, number>,
): Map<string, number> {
  const counts = new Map<string, number>();
  if (demand.spreadLabel === undefined || siblings.size === 0) return counts;
  for (const node of nodes) {
    const value = spreadValueOf(demand, node);
    counts.set(value, (counts.get(value) ?? 0) + (siblings.get(node.id) ?? 0));
  }
  return counts;
}

/** Parts of a node's score; the greater sum is better. `byValue` is `siblingsByValue`. */
export function scoreOf(
  demand: Demand,
  node: NodeView,
  policy: Policy,
  { inputs }: Circumstances,
  byValue: ReadonlyMap<string, number>,
): Record<string, number> {
  return {
    room: roomPoints(demand, node, policy),
    affinity: affinityPoints(demand, node),
    // A zero must not be negative.
    penalty: 0 - node.penalty,
    locality: localityPoints(inputs, node),
    spread: spreadPoints(byValue.get(spreadValueOf(demand, node)) ?? 0),
  };
}

export function totalOf(score: Readonly<Record<string, number>>): number {
  return Object.values(score).reduce((sum, part) => sum + part, 0);
}

/** The best node for the demand, of equal ones the first by id; else why none will do. */
export function place(
  demand: Demand,
  nodes: readonly NodeView[],
  policy: Policy,
  circumstances: Circumstances = noCircumstances,
): Placement {
  const byValue = siblingsByValue(demand, nodes, circumstances.siblings);
  let best: { node: NodeView; total: number; score: Record<string, number> } | undefined;
  const refusals: Refusal[] = [];
  for (const node of nodes) {
    const [refusal] = refusalsOf(demand, node, circumstances);
    if (refusal !== undefined) {
      refusals.push(refusal);
      continue;
    }
    const score = scoreOf(demand, node, policy, circumstances, byValue);
    const total = totalOf(score);
    if (
      best === undefined ||
      total > best.total ||
      (total === best.total && node.id < best.node.id)
    ) {
      best = { node, total, score };
    }
  }
  if (best === undefined) return { nodeId: undefined, score: {}, refusals };
  return { nodeId: best.node.id, score: best.score, refusals: [] };
}

/** Adds (`sign` 1) or takes away (-1) what a task needs from what is reserved. */
export function adjust({ reserved }: NodeView, { need, extras }: Demand, sign: 1 | -1): void {
  reserved.cpuMilli += sign * need.cpuMilli;
  reserved.memoryBytes += sign * need.memoryBytes;
  reserved.slots += sign;
  if (extras.length === 0) return;
  const sums = { ...reserved.extras };
  for (const [name, count] of extras) sums[name] = (sums[name] ?? 0) + sign * count;
  reserved.extras = sums;
}

const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/** `536870912` → "512 MiB"; at most two decimals. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Math.floor(value * 100) / 100} ${units[unit]}`;
}
