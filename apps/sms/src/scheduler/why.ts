/**
 * The smallest changes that would place a task now. Pure: what a change of the task
 * comes to is given as the demand that `place` would then be asked.
 */
import {
  bytesText,
  type Circumstances,
  type Demand,
  type NodeView,
  type Refusal,
  refusalsOf,
} from "./place.ts";

export interface Remedy {
  /** As "memory at most 512 MiB" or "one more node with label zone=eu". */
  text: string;
  /** What the task would ask for; undefined if the cluster would have to change. */
  demand: Demand | undefined;
}

/** Remedies that are given at most. */
const most = 4;

/** How to ask for less, so that this refusal falls; undefined if the task can't do it. */
function concede(demand: Demand, refusal: Refusal): Remedy | undefined {
  const { need } = demand;
  const { reason, subject, free = 0 } = refusal;
  switch (reason) {
    case "cpu":
      if (free <= 0) return undefined;
      return {
        text: `cpu at most ${free / 1000}`,
        demand: { ...demand, need: { ...need, cpuMilli: free } },
      };
    case "memory":
      if (free <= 0) return undefined;
      return {
        text: `memory at most ${bytesText(free)}`,
        demand: { ...demand, need: { ...need, memoryBytes: free } },
      };
    case "extra": {
      if (free < 0) return undefined;
      const extras = demand.extras.map(
        ([name, count]) => [name, name === subject ? free : count] as const,
      );
      return {
        text: free === 0 ? `no ${subject}` : `${subject} at most ${free}`,
        demand: { ...demand, extras, need: { ...need, extras: Object.fromEntries(extras) } },
      };
    }
    case "constraint":
      return {
        text: `without the condition ${subject}`,
        demand: {
          ...demand,
          constraints: demand.constraints.filter(({ text }) => text !== subject),
        },
      };
    case "other_node":
      return {
        text: "without the wish for a certain node",
        demand: { ...demand, nodeId: undefined },
      };
    case "anti_affinity":
      return {
        text: "without the wish to be alone on its node",
        demand: { ...demand, alone: false },
      };
    case "not_ready":
    case "runtime":
    case "held":
    case "slots":
      return undefined;
  }
}

/** What the task would have to concede for all refusals of a node to fall. */
function concedeAll(demand: Demand, refusals: readonly Refusal[]): Remedy | undefined {
  let now = demand;
  const texts: string[] = [];
  for (const refusal of refusals) {
    const remedy = concede(now, refusal);
    if (remedy?.demand === undefined) return undefined;
    now = remedy.demand;
    texts.push(remedy.text);
  }
  return { text: texts.join(" and "), demand: now };
}

/** What would have to happen to a node that only one thing speaks against. */
function wait(node: NodeView, refusal: Refusal): string | undefined {
  switch (refusal.reason) {
    case "not_ready":
      return `${node.cordoned ? "uncordon" : "undrain"} node ${node.name}`;
    case "slots":
      return `a free slot on node ${node.name}`;
    case "held":
      return `the end of the hold of node ${node.name} for ${node.heldFor}`;
    default:
      return undefined;
  }
}

const plainEquality = /^label\.(\S+) == (.+)$/;

/** "one more node with label zone=eu that offers docker and has 2 cpu and 64 MiB free". */
function oneMoreNode({ need, extras, constraints, runtime }: Demand): string {
  const conditions = constraints.map(({ text }) =>
    plainEquality.test(text) ? text.replace(plainEquality, "label $1=$2") : text,
  );
  const room = [
    `${need.cpuMilli / 1000} cpu`,
    bytesText(need.memoryBytes),
    ...extras.filter(([, count]) => count > 0).map(([name, count]) => `${count} ${name}`),
  ];
  const having = conditions.length === 0 ? "" : ` with ${conditions.join(" and ")}`;
  return `one more node${having} that offers ${runtime} and has ${room.join(", ")} free`;
}

/** How much less a demand asks for than another, as a share of it. */
function reduction(from: Demand, to: Demand): number {
  const share = (before: number, after: number) => (before === 0 ? 0 : (before - after) / before);
  return (
    share(from.need.cpuMilli, to.need.cpuMilli) + share(from.need.memoryBytes, to.need.memoryBytes)
  );
}

/**
 * Changes each of which would place the task, the smallest first: fewer things to give
 * up before more, less of a resource before more of it. The last is a change of the
 * cluster that always helps, unless the task wants a certain node.
 */
export function remediesOf(
  demand: Demand,
  nodes: readonly NodeView[],
  circumstances: Circumstances,
): Remedy[] {
  const concessions = new Map<string, Remedy & { demand: Demand; things: number }>();
  const waits = new Set<string>();
  for (const node of nodes) {
    const refusals = [...refusalsOf(demand, node, circumstances)];
    const [only] = refusals;
    if (only === undefined) return [];
    const remedy = concedeAll(demand, refusals);
    if (remedy?.demand !== undefined) {
      // Of nodes for which the same things are given up, the one that costs least of them.
      const kind = refusals.map(({ reason, subject }) => `${reason} ${subject ?? ""}`).join();
      const known = concessions.get(kind);
      if (known === undefined || reduction(demand, remedy.demand) < reduction(demand, known.demand))
        concessions.set(kind, { ...remedy, demand: remedy.demand, things: refusals.length });
    }
    const event = refusals.length === 1 ? wait(node, only) : undefined;
    if (event !== undefined && waits.size < most) waits.add(event);
  }
  const cluster = [...waits];
  if (demand.nodeId === undefined) cluster.push(oneMoreNode(demand));
  const task = [...concessions.values()].toSorted(
    (a, b) => a.things - b.things || reduction(demand, a.demand) - reduction(demand, b.demand),
  );
  return [
    ...task.map(({ text, demand: asked }) => ({ text, demand: asked })).slice(0, most - 1),
    ...cluster.slice(-Math.max(1, most - task.length)).map((text) => ({ text, demand: undefined })),
  ];
}

const many = (count: number, what: string) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** "2 nodes lack memory, 1 node does not satisfy label.zone == eu". */
export function reasonsInWords(refusals: readonly Refusal[]): string {
  if (refusals.length === 0) return "there is no node";
  const words: Record<Refusal["reason"], string> = {
    other_node: "not the one it wants",
    not_ready: "not taking tasks",
    runtime: "without its runtime",
    constraint: "against its conditions",
    held: "kept for another task",
    anti_affinity: "with another of its job's tasks",
    cpu: "short of cpu",
    memory: "short of memory",
    slots: "without a free slot",
    extra: "short of an extra",
  };
  const counts = new Map<string, number>();
  for (const { reason } of refusals)
    counts.set(words[reason], (counts.get(words[reason]) ?? 0) + 1);
  return [...counts]
    .toSorted(([, a], [, b]) => b - a)
    .map(([what, count]) => `${many(count, "node")} ${what}`)
    .join(", ");
}
