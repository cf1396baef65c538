/** Multi-part uploads over REST: parse, call, encode. */
import { Elysia, t } from "elysia";
import { Fault } from "@spear/shared/fault.ts";
import { rawOf } from "../http/listener.ts";
import { objectSchema } from "../objects/schema.ts";
import {
  completeBody,
  partListSchema,
  partSchema,
  uploadBody,
  uploadListSchema,
  uploadSchema,
} from "./schema.ts";
import type { Uploads } from "./uploads.ts";

const tags = ["uploads"];
const partPath = /^\/v1\/uploads\/[^/]+\/parts\/[^/]+$/;
const bucketParams = t.Object({ bucket: t.String({ description: "Bucket." }) });
const idParams = t.Object({ id: t.String({ description: "Id of the upload." }) });
const bytes = {
  "application/octet-stream": { schema: { type: "string" as const, format: "binary" } },
};

/** True for a request whose body is a part's bytes. */
export function streamsPart(method: string, path: string): boolean {
  return method === "PUT" && partPath.test(path);
}

function pageStart(token: string | undefined): number {
  if (token === undefined || token === "") return 0;
  if (/^[1-9]\d{0,4}$/.test(token)) return Number(token);
  throw new Fault("invalid_argument", "pageToken: not a token of this listing", {
    field: "pageToken",
  });
}

export function uploadRoutes(uploads: Uploads) {
  return new Elysia({ normalize: false })
    .model({
      Object: objectSchema,
      Upload: uploadSchema,
      UploadList: uploadListSchema,
      UploadPart: partSchema,
      UploadPartList: partListSchema,
      UploadRequest: uploadBody,
      CompleteUploadRequest: completeBody,
    })
    .post(
      "/v1/buckets/:bucket/uploads",
      ({ params: { bucket }, body: { key, ...attributes } }) =>
        uploads.create({ bucket, key }, attributes),
      {
        params: bucketParams,
        body: "UploadRequest",
        response: "Upload",
        detail: { operationId: "createUpload", summary: "Begin a multi-part upload.", tags },
      },
    )
    .get(
      "/v1/buckets/:bucket/uploads",
      async ({ params: { bucket } }) => ({ uploads: await uploads.list(bucket) }),
      {
        params: bucketParams,
        response: "UploadList",
        detail: { operationId: "listUploads", summary: "Uploads into a bucket.", tags },
      },
    )
    .get("/v1/uploads/:id", ({ params: { id } }) => uploads.get(id), {
      params: idParams,
      response: "Upload",
      detail: { operationId: "getUpload", summary: "One upload.", tags },
    })
    .delete(
      "/v1/uploads/:id",
      async ({ params: { id }, set }) => {
        await uploads.abort(id);
        set.status = 204;
      },
      {
        params: idParams,
        detail: {
          operationId: "abortUpload",
          summary: "End an upload and remove its parts.",
          tags,
          responses: { 204: { description: "It is gone." } },
        },
      },
    )
    .put(
      "/v1/uploads/:id/parts/:number",
      ({ params: { id, number }, request }) => {
        const { body, signal } = rawOf(request);
        const length = request.headers.get("content-length");
        const part = {
          sizeBytes: length === null ? undefined : Number(length),
          sha256: request.headers.get("x-spear-sha256") ?? undefined,
        };
        return uploads.putPart(id, number, part, body, signal);
      },
      {
        parse: "none",
        params: t.Object({
          id: t.String({ description: "Id of the upload." }),
          number: t.Integer({ minimum: 1, maximum: 10_000, description: "Number of the part." }),
        }),
        response: "UploadPart",
        detail: {
          operationId: "uploadPart",
          summary: "Store a part, or replace it.",
          description: "The body is the part's bytes. Header: x-spear-sha256.",
          tags,
          requestBody: { required: true, content: bytes },
        },
      },
    )
    .get(
      "/v1/uploads/:id/parts",
      async ({ params: { id }, query }) => {
        const { parts, next } = await uploads.listParts(
          id,
          pageStart(query.pageToken),
          query.pageSize,
        );
        return { parts, ...(next === undefined ? {} : { nextPageToken: String(next) }) };
      },
      {
        params: idParams,
        query: t.Object(
          {
            pageSize: t.Optional(
              t.Integer({ minimum: 1, maximum: 1_000, description: "Default 1,000." }),
            ),
            pageToken: t.Optional(t.String({ description: "nextPageToken of the page before." })),
          },
          { additionalProperties: false },
        ),
        response: "UploadPartList",
        detail: { operationId: "listUploadParts", summary: "Parts of an upload, by number.", tags },
      },
    )
    .post("/v1/uploads/:id/complete", ({ params: { id }, body }) => uploads.complete(id, body), {
      params: idParams,
      body: "CompleteUploadRequest",
      response: "Object",
      detail: {
        operationId: "completeUpload",
        summary: "Make the object of its parts; no bytes move.",
        tags,
      },
    });
}
