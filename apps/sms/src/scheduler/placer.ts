/**
 * `place` over nodes that change one at a time: the same answers in the logarithm
 * of their number. Each class of equal need keeps the scores of the nodes in a
 * tournament, and catches up with what changed since it was last asked.
 */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import {
  adjust,
  affinityPoints,
  type Circumstances,
  type Demand,
  hasRoom,
  noCircumstances,
  type NodeView,
  type Policy,
  refusalsOf,
  roomPoints,
  scoreOf,
  siblingsByValue,
  spreadPoints,
  spreadValueOf,
  suits,
  totalOf,
} from "./place.ts";
import { Tournament } from "./tournament.ts";

const never = Number.NEGATIVE_INFINITY;
/** Classes whose scores are kept; the one made first goes first. */
const maxClasses = 256;

/** The nodes that share a value of the class's spread label; one group where it has none. */
interface Group {
  scores: Tournament;
  /** Position of each leaf in the list of nodes. */
  members: number[];
}

/** What is kept of a class. */
interface ClassScores {
  demand: Demand;
  /** Points that only change with the node itself, `never` where it does not suit. */
  fixed: Float64Array;
  groups: Map<string, Group>;
  /** Leaf of each node in its group. */
  leaves: Int32Array;
  /** Siblings by node that the scores allow for. */
  siblings: Map<NodeId, number>;
  byValue: Map<string, number>;
  /** How many changes the scores allow for. */
  at: number;
}

/** Which nodes have a thing, by its name. */
class Holders<K> {
  readonly #nodes = new Map<K, Set<NodeId>>();

  of(name: K): Iterable<NodeId> {
    return this.#nodes.get(name) ?? [];
  }

  add(name: K, id: NodeId): void {
    const nodes = this.#nodes.get(name);
    if (nodes === undefined) this.#nodes.set(name, new Set([id]));
    else nodes.add(id);
  }

  delete(name: K, id: NodeId): void {
    const nodes = this.#nodes.get(name);
    nodes?.delete(id);
    if (nodes?.size === 0) this.#nodes.delete(name);
  }
}

export class Placer {
  readonly #policy: Policy;
  readonly #classes = new Map<string, ClassScores>();
  /** In the order of their ids. */
  #nodes: NodeView[] = [];
  #positions = new Map<NodeId, number>();
  /** Nodes that need not fetch an input. */
  readonly #cachedBy = new Holders<string>();
  /** Nodes whose room is kept for a task. */
  readonly #heldFor = new Holders<TaskId>();
  /** Positions of nodes that changed: as they are if only room did, else as their complement. */
  #changes: number[] = [];
  /** How many changes came before the first that is kept. */
  #forgotten = 0;

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  /** All nodes, in the order of their ids. */
  get nodes(): readonly NodeView[] {
    return this.#nodes;
  }

  /** Slots that are free on all nodes together. */
  freeSlots(): number {
    return this.#nodes.reduce(
      (sum, { capacity, reserved }) => sum + Math.max(0, capacity.slots - reserved.slots),
      0,
    );
  }

  get(id: NodeId): NodeView | undefined {
    const position = this.#positions.get(id);
    return position === undefined ? undefined : this.#nodes[position];
  }

  /** Adds a node, or takes its new state. */
  set(node: NodeView): void {
    const position = this.#positions.get(node.id);
    const before = position === undefined ? undefined : this.#nodes[position];
    if (position === undefined || before === undefined) {
      this.#nodes.push(node);
      this.#nodes.sort((a, b) => (a.id < b.id ? -1 : 1));
      this.#renumber();
    } else {
      this.#unlink(before);
      this.#nodes[position] = node;
      this.#changed(~position);
    }
    for (const name of node.cached) this.#cachedBy.add(name, node.id);
    if (node.heldFor !== undefined) this.#heldFor.add(node.heldFor, node.id);
  }

  delete(id: NodeId): void {
    const node = this.get(id);
    if (node === undefined) return;
    this.#unlink(node);
    this.#nodes = this.#nodes.filter((other) => other !== node);
    this.#renumber();
  }

  /** Counts (`sign` 1) or gives back (-1) what a task needs of a node. */
  adjust(id: NodeId, demand: Demand, sign: 1 | -1): void {
    const position = this.#positions.get(id);
    const node = position === undefined ? undefined : this.#nodes[position];
    if (position === undefined || node === undefined) return;
    adjust(node, demand, sign);
    this.#changed(position);
  }

  /** What `place` would choose for a task of this class; undefined if it must wait. */
  choose(
    cls: string,
    demand: Demand,
    circumstances: Circumstances = noCircumstances,
  ): NodeId | undefined {
    const scores = this.#upToDate(cls, demand, circumstances.siblings);
    let best: number | undefined;
    let most = never;
    const consider = (position: number, total: number) => {
      if (total > most || (total === most && best !== undefined && position < best)) {
        best = position;
        most = total;
      }
    };
    for (const [value, { scores: tournament, members }] of scores.groups) {
      const leaf = tournament.best;
      if (leaf === undefined) continue;
      const spread = spreadPoints(scores.byValue.get(value) ?? 0);
      consider(members[leaf] as number, tournament.scoreOf(leaf) + spread);
    }
    for (const id of this.#special(circumstances)) {
      const node = this.get(id);
      if (node === undefined || refusalsOf(demand, node, circumstances).next().done !== true)
        continue;
      const score = scoreOf(demand, node, this.#policy, circumstances, scores.byValue);
      consider(this.#positions.get(id) as number, totalOf(score));
    }
    return best === undefined ? undefined : this.#nodes[best]?.id;
  }

  /** Nodes that this task likes more than others of its class do. */
  *#special({ taskId, inputs }: Circumstances): Generator<NodeId> {
    if (taskId !== undefined) yield* this.#heldFor.of(taskId);
    for (const input of inputs) yield* this.#cachedBy.of(input);
  }

  #unlink(node: NodeView): void {
    for (const name of node.cached) this.#cachedBy.delete(name, node.id);
    if (node.heldFor !== undefined) this.#heldFor.delete(node.heldFor, node.id);
  }

  /** Nodes came or went: positions are no longer what the scores were made for. */
  #renumber(): void {
    this.#positions = new Map(this.#nodes.map((node, position) => [node.id, position]));
    this.#classes.clear();
    this.#forgotten += this.#changes.length;
    this.#changes = [];
  }

  #changed(change: number): void {
    this.#changes.push(change);
    const most = Math.max(1_024, 4 * this.#nodes.length);
    if (this.#changes.length <= most) return;
    this.#changes = this.#changes.slice(most / 2);
    this.#forgotten += most / 2;
  }

  #upToDate(cls: string, demand: Demand, siblings: ReadonlyMap<NodeId, number>): ClassScores {
    let scores = this.#classes.get(cls);
    if (scores === undefined || scores.at < this.#forgotten || !this.#catchUp(scores)) {
      scores = this.#score(demand);
      if (this.#classes.size >= maxClasses && !this.#classes.has(cls)) {
        for (const oldest of this.#classes.keys()) {
          this.#classes.delete(oldest);
          break;
        }
      }
      this.#classes.set(cls, scores);
    }
    this.#heed(scores, siblings);
    return scores;
  }

  /** Applies what changed; false if a node moved to another group. */
  #catchUp(scores: ClassScores): boolean {
    for (let at = scores.at - this.#forgotten; at < this.#changes.length; at++) {
      const change = this.#changes[at] as number;
      const position = change < 0 ? ~change : change;
      if (change < 0) {
        const node = this.#nodes[position] as NodeView;
        const group = scores.groups.get(spreadValueOf(scores.demand, node));
        if (group?.members[scores.leaves[position] as number] !== position) return false;
        scores.fixed[position] = this.#fixedPoints(scores.demand, node);
      }
      this.#rescore(scores, position);
    }
    scores.at = this.#forgotten + this.#changes.length;
    return true;
  }

  /** Takes siblings into account where they are not what they were. */
  #heed(scores: ClassScores, siblings: ReadonlyMap<NodeId, number>): void {
    const { demand } = scores;
    if (!demand.alone && demand.spreadLabel === undefined) return;
    const changed = new Set<NodeId>();
    for (const [id, count] of siblings) if (scores.siblings.get(id) !== count) changed.add(id);
    for (const id of scores.siblings.keys()) if (!siblings.has(id)) changed.add(id);
    if (changed.size === 0) return;
    scores.siblings = new Map(siblings);
    scores.byValue = siblingsByValue(demand, this.#nodes, siblings);
    for (const id of changed) {
      const position = this.#positions.get(id);
      if (position !== undefined) this.#rescore(scores, position);
    }
  }

  #fixedPoints(demand: Demand, node: NodeView): number {
    if (!suits(demand, node) || node.heldFor !== undefined) return never;
    return affinityPoints(demand, node) - node.penalty;
  }

  #pointsAt(scores: ClassScores, position: number): number {
    const { demand, fixed, siblings } = scores;
    const points = fixed[position] as number;
    const node = this.#nodes[position] as NodeView;
    if (points === never || !hasRoom(demand, node.capacity, node.reserved)) return never;
    if (demand.alone && (siblings.get(node.id) ?? 0) > 0) return never;
    return points + roomPoints(demand, node, this.#policy);
  }

  #rescore(scores: ClassScores, position: number): void {
    const { demand, groups, leaves } = scores;
    const value = spreadValueOf(demand, this.#nodes[position] as NodeView);
    groups.get(value)?.scores.set(leaves[position] as number, this.#pointsAt(scores, position));
  }

  /** Everything of a class from the beginning. */
  #score(demand: Demand): ClassScores {
    const nodes = this.#nodes;
    const scores: ClassScores = {
      demand,
      fixed: Float64Array.from(nodes, (node) => this.#fixedPoints(demand, node)),
      groups: new Map(),
      leaves: new Int32Array(nodes.length),
      siblings: new Map(),
      byValue: new Map(),
      at: this.#forgotten + this.#changes.length,
    };
    const members = new Map<string, number[]>();
    for (const [position, node] of nodes.entries()) {
      const value = spreadValueOf(demand, node);
      const group = members.get(value) ?? [];
      scores.leaves[position] = group.push(position) - 1;
      members.set(value, group);
    }
    for (const [value, group] of members) {
      const points = group.map((position) => this.#pointsAt(scores, position));
      scores.groups.set(value, { scores: new Tournament(points), members: group });
    }
    return scores;
  }
}
