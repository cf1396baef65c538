/** The node's health as a schema; it mirrors `spear/spearlet/v1/spearlet.proto`. */
import { Type, type Static } from "@sinclair/typebox";
import { NodeUsage, RuntimeInfo } from "@spear/shared/node.ts";

export const Health = Type.Object(
  {
    nodeId: Type.String({ description: "node_…" }),
    smsConnected: Type.Boolean(),
    redisConnected: Type.Boolean(),
    usage: NodeUsage,
    runtimes: Type.Array(RuntimeInfo),
    pendingReports: Type.Integer({ description: "Reports that wait for SMS." }),
  },
  { $id: "Health", description: "What works on the node and what does not." },
);
export type Health = Static<typeof Health>;

/** Looks now. */
export type Examine = () => Health;
