/** Nodes over REST: parses, calls, encodes. */
import { parseId } from "@spear/shared/ids.ts";
import { Node, NodeStateSchema } from "@spear/shared/node.ts";
import { Elysia, t } from "elysia";
import type { Nodes } from "./nodes.ts";

const tags = ["nodes"];
const nodeId = t.Object({ id: t.String({ description: "node_…" }) });

export function nodeRoutes({ nodes }: { nodes: Nodes }) {
  return new Elysia()
    .model({ Node })
    .get(
      "/v1/nodes",
      async ({ query }) => {
        const all = await nodes.list();
        return {
          nodes: all.filter((node) => query.state === undefined || node.state === query.state),
        };
      },
      {
        query: t.Object({ state: t.Optional(NodeStateSchema) }, { additionalProperties: false }),
        response: t.Object({ nodes: t.Array(t.Ref(Node)) }),
        detail: { operationId: "listNodes", summary: "All nodes, oldest first.", tags },
      },
    )
    .get("/v1/nodes/:id", ({ params }) => nodes.get(parseId("node", params.id, "id")), {
      params: nodeId,
      response: t.Ref(Node),
      detail: { operationId: "getNode", summary: "One node.", tags },
    })
    .post(
      "/v1/nodes/:id/drain",
      ({ params, body }) => nodes.drain(parseId("node", params.id, "id"), body?.undo ?? false),
      {
        params: nodeId,
        body: t.Optional(
          t.Object(
            { undo: t.Optional(t.Boolean({ description: "Take the drain back." })) },
            { additionalProperties: false },
          ),
        ),
        response: t.Ref(Node),
        detail: { operationId: "drainNode", summary: "Stop giving a node new tasks.", tags },
      },
    )
    .delete(
      "/v1/nodes/:id",
      async ({ params, set }) => {
        await nodes.deregister(parseId("node", params.id, "id"));
        set.status = 204;
      },
      {
        params: nodeId,
        detail: {
          operationId: "deregisterNode",
          summary: "Take a node out; its tasks go elsewhere.",
          tags,
          responses: { 204: { description: "It is out." } },
        },
      },
    );
}
