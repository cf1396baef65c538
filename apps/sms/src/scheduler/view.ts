/**
 * The cluster as this replica sees it. Reservations made here are counted at once;
 * what other replicas do arrives with their events. The view may be wrong for a
 * moment: the script that reserves is what holds T4.
 */
import type { Clock } from "@spear/shared/clock.ts";
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Node } from "@spear/shared/node.ts";
import { lossHalfLifeMs, type NodeStore } from "../nodes/store.ts";
import type { Attributes } from "./constraint.ts";
import type { NodeView, Policy } from "./place.ts";
import { Placer } from "./placer.ts";

/** Points that one recent loss costs a node: a tenth of the range from empty to full. */
const lossPoints = 100;
/** Most nodes that are read again in one go. */
const batch = 1_000;

function attributesOf(node: Node): Attributes {
  const runtimes = node.runtimes.map((runtime) => runtime.name);
  const versions = new Map(
    node.runtimes
      .filter(({ version }) => version !== "")
      .map(({ name, version }) => [`runtime.${name}`, version]),
  );
  const single: Record<string, string | undefined> = {
    arch: node.facts.arch,
    os: node.facts.os,
    kernel: node.facts.kernel,
    distribution: node.facts.distribution,
    version: node.facts.version,
    hostname: node.facts.hostname,
    name: node.name,
    node: node.id,
  };
  return (subject) => {
    if (subject === "runtime") return runtimes;
    const value = subject.startsWith("label.")
      ? node.labels[subject.slice("label.".length)]
      : (single[subject] ?? versions.get(subject));
    return value === undefined ? [] : [value];
  };
}

/** What its losses cost a node by now. */
function penaltyOf({ losses = 0, lostAtMs = 0 }: Node, nowMs: number): number {
  return Math.round(lossPoints * losses * 2 ** (Math.min(0, lostAtMs - nowMs) / lossHalfLifeMs));
}

export function viewOf(node: Node, nowMs: number): NodeView {
  const held = node.heldFor !== undefined && (node.heldUntilMs ?? 0) > nowMs;
  return {
    id: node.id as NodeId,
    name: node.name,
    ready: node.state === "ready" && node.cordoned !== true,
    cordoned: node.cordoned === true,
    runtimes: new Set(node.runtimes.map((runtime) => runtime.name)),
    attributes: attributesOf(node),
    capacity: {
      cpuMilli: Math.round(node.capacity.cpu * 1000),
      memoryBytes: node.capacity.memoryBytes,
      slots: node.capacity.slots,
      extras: node.capacity.extras,
    },
    reserved: {
      cpuMilli: Math.round(node.reserved.cpu * 1000),
      memoryBytes: node.reserved.memoryBytes,
      slots: node.reserved.slots,
      extras: node.reserved.extras,
    },
    penalty: penaltyOf(node, nowMs),
    cached: new Set(node.usage.cached?.names),
    heldFor: held ? (node.heldFor as TaskId) : undefined,
  };
}

export class ClusterView {
  readonly #records: NodeStore;
  readonly #clock: Clock;
  readonly #dirty = new Set<NodeId>();
  readonly placer: Placer;
  readonly policy: Policy;

  constructor(records: NodeStore, clock: Clock, policy: Policy) {
    this.#records = records;
    this.#clock = clock;
    this.placer = new Placer(policy);
    this.policy = policy;
  }

  /** Something about the node is no longer as it was seen. */
  markDirty(id: NodeId): void {
    this.#dirty.add(id);
  }

  /** Keeps a node's room for a task that waits, where no other has it. */
  async hold(id: NodeId, task: TaskId, untilMs: number): Promise<void> {
    await this.#records.hold(id, task, untilMs, this.#clock.nowMs());
    this.markDirty(id);
  }

  /** Reads again what has changed. */
  async refresh(): Promise<void> {
    if (this.#dirty.size === 0) return;
    const ids = [...this.#dirty].slice(0, batch);
    for (const id of ids) this.#dirty.delete(id);
    const nodes = await Promise.all(ids.map((id) => this.#records.get(id)));
    for (const [index, node] of nodes.entries()) this.#set(ids[index] as NodeId, node);
  }

  /** Reads everything again. */
  async refreshAll(): Promise<void> {
    const nodes = await this.#records.list();
    const seen = new Set(nodes.map((node) => node.id as NodeId));
    for (const { id } of this.placer.nodes) if (!seen.has(id)) this.placer.delete(id);
    for (const node of nodes) this.#set(node.id as NodeId, node);
  }

  #set(id: NodeId, node: Node | undefined): void {
    if (node === undefined || node.state === "left" || node.state === "down")
      this.placer.delete(id);
    else this.placer.set(viewOf(node, this.#clock.nowMs()));
  }
}
