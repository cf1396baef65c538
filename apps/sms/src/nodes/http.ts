/** Nodes over REST: parses, calls, encodes. */
import { parseId } from "@spear/shared/ids.ts";
import { Node, NodeStateSchema, UsageSample } from "@spear/shared/node.ts";
import { Elysia, t } from "elysia";
import type { Nodes } from "./nodes.ts";

const tags = ["nodes"];
const closed = { additionalProperties: false } as const;
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
        query: t.Object({ state: t.Optional(NodeStateSchema) }, closed),
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
      async ({ params, body }) => {
        const id = parseId("node", params.id, "id");
        return await (body?.undo === true
          ? nodes.undrain(id)
          : nodes.drain(id, body?.deadlineMs ?? 0));
      },
      {
        params: nodeId,
        body: t.Optional(
          t.Object(
            {
              deadlineMs: t.Optional(
                t.Integer({
                  description: "What still runs after this long moves. Default 0: never.",
                }),
              ),
              undo: t.Optional(t.Boolean({ description: "Take the drain back." })),
            },
            closed,
          ),
        ),
        response: t.Ref(Node),
        detail: {
          operationId: "drainNode",
          summary: "Stop giving a node new tasks; move what is left at the deadline.",
          tags,
        },
      },
    )
    .post(
      "/v1/nodes/:id/cordon",
      ({ params, body }) => nodes.cordon(parseId("node", params.id, "id"), body?.undo !== true),
      {
        params: nodeId,
        body: t.Optional(
          t.Object(
            { undo: t.Optional(t.Boolean({ description: "Take the cordon back." })) },
            closed,
          ),
        ),
        response: t.Ref(Node),
        detail: {
          operationId: "cordonNode",
          summary: "Let nothing new onto a node; what it has goes on.",
          tags,
        },
      },
    )
    .post(
      "/v1/nodes/:id/labels",
      ({ params, body }) =>
        nodes.label(parseId("node", params.id, "id"), {
          set: body.set ?? {},
          remove: body.remove ?? [],
        }),
      {
        params: nodeId,
        body: t.Object(
          {
            set: t.Optional(t.Record(t.String(), t.String())),
            remove: t.Optional(
              t.Array(t.String({ maxLength: 63 }), {
                maxItems: 64,
                description: "Names; one of the node's own is hidden until it is set again.",
              }),
            ),
          },
          closed,
        ),
        response: t.Ref(Node),
        detail: {
          operationId: "labelNode",
          summary: "Change labels over those that the node has of its own.",
          tags,
        },
      },
    )
    .get(
      "/v1/nodes/:id/usage",
      async ({ params }) => ({ samples: await nodes.usage(parseId("node", params.id, "id")) }),
      {
        params: nodeId,
        response: t.Object({ samples: t.Array(UsageSample) }),
        detail: {
          operationId: "getNodeUsage",
          summary: "What a node used in the last hour, oldest first.",
          tags,
        },
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
