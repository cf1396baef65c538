/**
 * Choosing a node: a pure, total function of what a task needs and what is known
 * of the nodes. It answers with a node, or with the reason that ruled out each.
 */
import type { NodeId } from "@spear/shared/ids.ts";
import type { Runtime, TaskSpec } from "@spear/shared/task.ts";
import { runtimeOf } from "@spear/shared/task.ts";
import { type Need, needOf } from "../tasks/record.ts";
import { type Attributes, type Constraint, holds, parseConstraint } from "./constraint.ts";

/** A node as placement sees it. */
export interface NodeView {
  readonly id: NodeId;
  readonly name: string;
  readonly ready: boolean;
  readonly runtimes: ReadonlySet<string>;
  readonly attributes: Attributes;
  readonly capacity: Room;
  /** What is reserved; changed as tasks come and go. */
  reserved: Room;
  /** Recent losses; each makes the node less liked. */
  readonly penalty: number;
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
  readonly nodeId: string | undefined;
  readonly constraints: readonly Constraint[];
  readonly affinities: readonly { constraint: Constraint; weight: number }[];
}

/** Throws `invalid_argument` for a condition that can't be read. */
export function demandOf(spec: TaskSpec, root = "spec"): Demand {
  return {
    runtime: runtimeOf(spec),
    need: needOf(spec),
    nodeId: spec.nodeId,
    constraints: (spec.constraints ?? []).map((text, index) =>
      parseConstraint(text, `${root}.constraints.${index}`),
    ),
    affinities: (spec.affinities ?? []).map(({ constraint, weight }, index) => ({
      constraint: parseConstraint(constraint, `${root}.affinities.${index}.constraint`),
      weight,
    })),
  };
}

/** Why a node can't take a task. `lacks` is how much more it would have to have. */
export interface Refusal {
  nodeId: NodeId;
  reason:
    | "not_ready"
    | "other_node"
    | "runtime"
    | "constraint"
    | "cpu"
    | "memory"
    | "slots"
    | "extra";
  /** In words, as "needs 2 cpu, 0.5 free". */
  detail: string;
}

export type Policy = "binpack" | "spread";

export interface Placement {
  nodeId: NodeId | undefined;
  /** Score of the chosen node, by part. */
  score: Readonly<Record<string, number>>;
  /** One for each node, where none was chosen. */
  refusals: readonly Refusal[];
}

/** Why the node can't take it; undefined if it can. */
export function refusalOf(demand: Demand, node: NodeView): Refusal | undefined {
  const refuse = (reason: Refusal["reason"], detail: string): Refusal => ({
    nodeId: node.id,
    reason,
    detail,
  });
  const { need } = demand;
  if (demand.nodeId !== undefined && demand.nodeId !== node.id)
    return refuse("other_node", `only ${demand.nodeId} will do`);
  if (!node.ready) return refuse("not_ready", "takes no tasks now");
  if (!node.runtimes.has(demand.runtime))
    return refuse("runtime", `does not offer ${demand.runtime}`);
  const broken = demand.constraints.find((constraint) => !holds(constraint, node.attributes));
  if (broken !== undefined) return refuse("constraint", `does not satisfy ${broken.text}`);
  const freeCpu = node.capacity.cpuMilli - node.reserved.cpuMilli;
  if (need.cpuMilli > freeCpu)
    return refuse("cpu", `needs ${need.cpuMilli / 1000} cpu, ${freeCpu / 1000} free`);
  const freeMemory = node.capacity.memoryBytes - node.reserved.memoryBytes;
  if (need.memoryBytes > freeMemory)
    return refuse("memory", `needs ${need.memoryBytes} bytes of memory, ${freeMemory} free`);
  if (node.reserved.slots >= node.capacity.slots)
    return refuse("slots", `all ${node.capacity.slots} slots are taken`);
  for (const [name, count] of Object.entries(need.extras)) {
    const free = (node.capacity.extras[name] ?? 0) - (node.reserved.extras[name] ?? 0);
    if (count > free) return refuse("extra", `needs ${count} ${name}, ${free} free`);
  }
  return undefined;
}

/** Parts of a node's score; the sum decides, the greater is better. */
function scoreOf(demand: Demand, node: NodeView, policy: Policy): Record<string, number> {
  const used = Math.max(
    (node.reserved.cpuMilli + demand.need.cpuMilli) / Math.max(1, node.capacity.cpuMilli),
    (node.reserved.memoryBytes + demand.need.memoryBytes) / Math.max(1, node.capacity.memoryBytes),
    (node.reserved.slots + 1) / Math.max(1, node.capacity.slots),
  );
  const affinity = demand.affinities.reduce(
    (sum, { constraint, weight }) => sum + (holds(constraint, node.attributes) ? weight / 100 : 0),
    0,
  );
  return { [policy]: policy === "binpack" ? used : 1 - used, affinity, penalty: -node.penalty };
}

/** The best node for the demand, of equal ones the first by id; else why none will do. */
export function place(demand: Demand, nodes: Iterable<NodeView>, policy: Policy): Placement {
  let best: { node: NodeView; total: number; score: Record<string, number> } | undefined;
  const refusals: Refusal[] = [];
  for (const node of nodes) {
    const refusal = refusalOf(demand, node);
    if (refusal !== undefined) {
      refusals.push(refusal);
      continue;
    }
    const score = scoreOf(demand, node, policy);
    const total = Object.values(score).reduce((sum, part) => sum + part, 0);
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
export function adjust(node: NodeView, need: Need, sign: 1 | -1): void {
  const { reserved } = node;
  const extras = { ...reserved.extras };
  for (const [name, count] of Object.entries(need.extras))
    extras[name] = (extras[name] ?? 0) + sign * count;
  node.reserved = {
    cpuMilli: reserved.cpuMilli + sign * need.cpuMilli,
    memoryBytes: reserved.memoryBytes + sign * need.memoryBytes,
    slots: reserved.slots + sign,
    extras,
  };
}
