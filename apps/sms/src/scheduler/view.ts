/**
 * The cluster as this replica sees it. Reservations made here are counted at once;
 * what other replicas do arrives with their events. The view may be wrong for a
 * moment: the script that reserves is what holds T4.
 */
import type { NodeId } from "@spear/shared/ids.ts";
import type { Node } from "@spear/shared/node.ts";
import type { NodeStore } from "../nodes/store.ts";
import type { Attributes } from "./constraint.ts";
import type { NodeView } from "./place.ts";

function attributesOf(node: Node): Attributes {
  const runtimes = node.runtimes.map((runtime) => runtime.name);
  const single: Record<string, string> = {
    arch: node.facts.arch,
    os: node.facts.os,
    version: node.facts.version,
    hostname: node.facts.hostname,
    name: node.name,
    node: node.id,
  };
  return (subject) => {
    if (subject === "runtime") return runtimes;
    const value = subject.startsWith("label.")
      ? node.labels[subject.slice("label.".length)]
      : single[subject];
    return value === undefined ? [] : [value];
  };
}

export function viewOf(node: Node): NodeView {
  return {
    id: node.id as NodeId,
    name: node.name,
    ready: node.state === "ready",
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
    penalty: 0,
  };
}

export class ClusterView {
  readonly #records: NodeStore;
  readonly #nodes = new Map<NodeId, NodeView>();
  readonly #dirty = new Set<NodeId>();

  constructor(records: NodeStore) {
    this.#records = records;
  }

  get nodes(): Iterable<NodeView> {
    return this.#nodes.values();
  }

  get(id: NodeId): NodeView | undefined {
    return this.#nodes.get(id);
  }

  /** Something about the node is no longer as it was seen. */
  markDirty(id: NodeId): void {
    this.#dirty.add(id);
  }

  /** Reads again what has changed. */
  async refresh(): Promise<void> {
    if (this.#dirty.size === 0) return;
    const ids = [...this.#dirty].slice(0, 1_000);
    for (const id of ids) this.#dirty.delete(id);
    const nodes = await Promise.all(ids.map((id) => this.#records.get(id)));
    for (const [index, node] of nodes.entries()) this.#set(ids[index] as NodeId, node);
  }

  /** Reads everything again. */
  async refreshAll(): Promise<void> {
    const nodes = await this.#records.list();
    const seen = new Set(nodes.map((node) => node.id as NodeId));
    for (const id of this.#nodes.keys()) if (!seen.has(id)) this.#nodes.delete(id);
    for (const node of nodes) this.#set(node.id as NodeId, node);
  }

  #set(id: NodeId, node: Node | undefined): void {
    if (node === undefined || node.state === "left" || node.state === "down")
      this.#nodes.delete(id);
    else this.#nodes.set(id, viewOf(node));
  }
}
