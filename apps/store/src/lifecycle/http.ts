/** What keeps an object, over REST: parse, call, encode. */
import { Elysia, t } from "elysia";
import { parseId } from "@spear/shared/ids.ts";
import { objectSchema } from "../objects/schema.ts";
import type { Lifecycle } from "./lifecycle.ts";
import { refBody, whySchema } from "./schema.ts";

const tags = ["lifecycle"];
const params = t.Object({ id: t.String({ description: "obj_…" }) });

export function lifecycleRoutes(lifecycle: Lifecycle) {
  return new Elysia({ normalize: false })
    .model({ Object: objectSchema, RefRequest: refBody, Why: whySchema })
    .post(
      "/v1/objects/:id/refs",
      ({ params: { id }, body }) =>
        lifecycle.addRef(parseId("obj", id, "id"), body.holder, body.ttlMs ?? 0),
      {
        params,
        body: "RefRequest",
        response: "Object",
        detail: {
          operationId: "addObjectRef",
          summary: "Keep an object alive for a holder.",
          description: "Again for the same holder, it moves the reference's end.",
          tags,
        },
      },
    )
    .delete(
      "/v1/objects/:id/refs",
      ({ params: { id }, query }) => lifecycle.removeRef(parseId("obj", id, "id"), query.holder),
      {
        params,
        query: t.Object(
          { holder: t.String({ description: "Who held it." }) },
          { additionalProperties: false },
        ),
        response: "Object",
        detail: {
          operationId: "removeObjectRef",
          summary: "Take a holder's reference away.",
          description: "Idempotent.",
          tags,
        },
      },
    )
    .put("/v1/objects/:id/pin", ({ params: { id } }) => lifecycle.pin(parseId("obj", id, "id")), {
      params,
      parse: "none",
      response: "Object",
      detail: { operationId: "pinObject", summary: "Keep an object until it is unpinned.", tags },
    })
    .delete(
      "/v1/objects/:id/pin",
      ({ params: { id } }) => lifecycle.unpin(parseId("obj", id, "id")),
      {
        params,
        response: "Object",
        detail: {
          operationId: "unpinObject",
          summary: "Take the pin away.",
          description: "Idempotent.",
          tags,
        },
      },
    )
    .get("/v1/objects/:id/why", ({ params: { id } }) => lifecycle.why(parseId("obj", id, "id")), {
      params,
      response: "Why",
      detail: {
        operationId: "explainObject",
        summary: "Who keeps an object, or why it will go and when.",
        tags,
      },
    });
}
