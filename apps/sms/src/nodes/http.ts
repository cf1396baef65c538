/** Nodes over REST: parses, calls, encodes. */
import { parseId } from "@spear/shared/ids.ts";
import { JoinToken, Node, NodeStateSchema, UsageSample } from "@spear/shared/node.ts";
import { Elysia, t } from "elysia";
import type { Admission } from "./admission.ts";
import type { Nodes } from "./nodes.ts";

const tags = ["nodes"];
const closed = { additionalProperties: false } as const;
const nodeId = t.Object({ id: t.String({ description: "node_…" }) });

export function nodeRoutes({ nodes, admission }: { nodes: Nodes; admission: Admission }) {
  return new Elysia()
    .model({ Node, JoinToken })
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
        const id = parseId("node", params.id, "id");
        await nodes.deregister(id);
        await admission.forget(id);
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
    )
    .post(
      "/v1/join-tokens",
      async ({ body, set }) => {
        set.status = 201;
        return await admission.create(body.name ?? "", body.ttlMs);
      },
      {
        body: t.Object(
          {
            name: t.Optional(t.String({ description: "Name for people." })),
            ttlMs: t.Optional(
              t.Integer({ description: "How long it is good for. Default a day; 0: for ever." }),
            ),
          },
          closed,
        ),
        response: {
          201: t.Object({
            joinToken: t.Ref(JoinToken),
            secret: t.String({ description: "The token; it can't be shown again." }),
          }),
        },
        detail: {
          operationId: "createJoinToken",
          summary: "Make a token with which nodes join; it is shown this once.",
          tags,
        },
      },
    )
    .get("/v1/join-tokens", async () => ({ joinTokens: await admission.list() }), {
      response: t.Object({ joinTokens: t.Array(t.Ref(JoinToken)) }),
      detail: {
        operationId: "listJoinTokens",
        summary: "Join tokens that have not expired, oldest first.",
        tags,
      },
    })
    .delete(
      "/v1/join-tokens/:id",
      async ({ params, set }) => {
        await admission.revoke(params.id);
        set.status = 204;
      },
      {
        params: t.Object({ id: t.String({ description: "First part of the token." }) }),
        detail: {
          operationId: "revokeJoinToken",
          summary: "Make a join token worthless; nodes that have joined with it stay.",
          tags,
          responses: { 204: { description: "It is worthless." } },
        },
      },
    );
}
