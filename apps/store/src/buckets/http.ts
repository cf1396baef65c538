/** Buckets over REST: parse, call, encode. */
import { Elysia, t } from "elysia";
import type { Buckets } from "./buckets.ts";
import { bucketListSchema, bucketSchema } from "./schema.ts";

const tags = ["buckets"];
const params = t.Object({ bucket: t.String({ description: "Name of the bucket." }) });

export function bucketRoutes(buckets: Buckets) {
  return new Elysia({ normalize: false })
    .model({ Bucket: bucketSchema, BucketList: bucketListSchema })
    .get("/v1/buckets", async () => ({ buckets: await buckets.list() }), {
      response: "BucketList",
      detail: { operationId: "listBuckets", summary: "All buckets, by name.", tags },
    })
    .get("/v1/buckets/:bucket", ({ params: { bucket } }) => buckets.get(bucket), {
      params,
      response: "Bucket",
      detail: { operationId: "getBucket", summary: "One bucket.", tags },
    })
    .put(
      "/v1/buckets/:bucket",
      ({ params: { bucket }, query }) => buckets.create(bucket, query.ifAbsent ?? false),
      {
        params,
        query: t.Object(
          { ifAbsent: t.Optional(t.Boolean({ description: "No error if it is there." })) },
          { additionalProperties: false },
        ),
        response: "Bucket",
        detail: { operationId: "createBucket", summary: "Make a bucket.", tags },
      },
    )
    .delete(
      "/v1/buckets/:bucket",
      async ({ params: { bucket }, set }) => {
        await buckets.remove(bucket);
        set.status = 204;
      },
      {
        params,
        detail: {
          operationId: "deleteBucket",
          summary: "Remove an empty bucket.",
          tags,
          responses: { 204: { description: "It is gone." } },
        },
      },
    );
}
