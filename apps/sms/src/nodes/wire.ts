/** Nodes between their schemas and protobuf. */
import { nodeStateToProto } from "@spear/proto/enums.ts";
import {
  Node as WireNode,
  type NodeFacts as WireFacts,
  type NodeUsage as WireUsage,
} from "@spear/proto/gen/spear/common/v1/node.ts";
import { check } from "@spear/shared/check.ts";
import { Fault } from "@spear/shared/fault.ts";
import { type NodeId, parseId } from "@spear/shared/ids.ts";
import { Capacity, type Node, type NodeFacts, type NodeUsage } from "@spear/shared/node.ts";
import type { Registration } from "./store.ts";

export function nodeToProto(node: Node): WireNode {
  return WireNode.fromPartial({ ...node, state: nodeStateToProto(node.state) });
}

/** Names of what it has that are taken from a node. */
const maxCached = 1_000;

/** What a node measured; what it did not say stays out. */
export function usageFromProto({ cached, ...usage }: WireUsage): NodeUsage {
  if (cached === undefined) return usage;
  return { ...usage, cached: { names: cached.names.slice(0, maxCached) } };
}

const noFacts: NodeFacts = { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" };

function factsFromProto(facts: WireFacts | undefined): NodeFacts {
  const said = Object.entries(facts ?? {}).filter(([, value]) => value !== undefined);
  return { ...noFacts, ...(Object.fromEntries(said) as Partial<NodeFacts>) };
}

/** A registration from the wire. Throws `invalid_argument` naming the field. */
export function registrationFromProto(
  node: WireNode | undefined,
): Omit<Registration, "id"> & { id: NodeId | undefined } {
  if (node === undefined)
    throw new Fault("invalid_argument", "node: is missing", { field: "node" });
  const required = ["name", "incarnation", "grpcAddress"] as const;
  const missing = required.find((field) => node[field] === "");
  if (missing !== undefined) {
    throw new Fault("invalid_argument", `node.${missing}: is missing`, {
      field: `node.${missing}`,
    });
  }
  return {
    id: node.id === "" ? undefined : parseId("node", node.id, "node.id"),
    name: node.name,
    incarnation: node.incarnation,
    httpAddress: node.httpAddress,
    grpcAddress: node.grpcAddress,
    capacity: check(Capacity, node.capacity, "node.capacity"),
    labels: node.labels,
    runtimes: node.runtimes,
    facts: factsFromProto(node.facts),
  };
}
