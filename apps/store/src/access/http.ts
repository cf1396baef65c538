/** Access keys over REST: parse, call, encode. */
import { Elysia, t } from "elysia";
import type { AccessKeys } from "./keys.ts";
import {
  accessKeyBody,
  accessKeyListSchema,
  accessKeySchema,
  newAccessKeySchema,
} from "./schema.ts";

const tags = ["access keys"];

export function accessKeyRoutes(accessKeys: AccessKeys) {
  return new Elysia({ normalize: false })
    .model({
      AccessKey: accessKeySchema,
      AccessKeyList: accessKeyListSchema,
      AccessKeyRequest: accessKeyBody,
      NewAccessKey: newAccessKeySchema,
    })
    .post("/v1/access-keys", ({ body }) => accessKeys.create(body), {
      body: "AccessKeyRequest",
      response: "NewAccessKey",
      detail: {
        operationId: "createAccessKey",
        summary: "Make an access key for S3 clients.",
        description: "The secret is in this answer and in no other.",
        tags,
      },
    })
    .get("/v1/access-keys", async () => ({ accessKeys: await accessKeys.list() }), {
      response: "AccessKeyList",
      detail: { operationId: "listAccessKeys", summary: "All access keys, without secrets.", tags },
    })
    .delete(
      "/v1/access-keys/:id",
      async ({ params: { id }, set }) => {
        await accessKeys.remove(id);
        set.status = 204;
      },
      {
        params: t.Object({ id: t.String({ description: "SPEAR…" }) }),
        detail: {
          operationId: "deleteAccessKey",
          summary: "Remove an access key; it opens nothing any more.",
          tags,
          responses: { 204: { description: "It is gone." } },
        },
      },
    );
}
