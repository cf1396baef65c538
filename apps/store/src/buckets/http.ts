/** Buckets over REST: parse, call, encode. */
import { Elysia, t } from "elysia";
import type { Buckets } from "./buckets.ts";
import { bucketListSchema, bucketRulesSchema, bucketSchema, bucketUsageSchema } from "./schema.ts";

const tags = ["buckets"];
const params = t.Object({ bucket: t.String({ description: "Name of the bucket." }) });

export function bucketRoutes(buckets: Buckets) {
  return new Elysia({ normalize: false })
    .model({
      Bucket: bucketSchema,
      BucketList: bucketListSchema,
      BucketRules: bucketRulesSchema,
      BucketUsage: bucketUsageSchema,
    })
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
    )
    .get("/v1/buckets/:bucket/usage", ({ params: { bucket } }) => buckets.usage(bucket), {
      params,
      response: "BucketUsage",
      detail: { operationId: "getBucketUsage", summary: "What a bucket holds.", tags },
    })
    .get("/v1/buckets/:bucket/rules", ({ params: { bucket } }) => buckets.rules(bucket), {
      params,
      response: "BucketRules",
      detail: { operationId: "getBucketRules", summary: "Quota and expiry of a bucket.", tags },
    })
    .put(
      "/v1/buckets/:bucket/rules",
      ({ params: { bucket }, body }) => buckets.setRules(bucket, body),
      {
        params,
        body: "BucketRules",
        response: "BucketRules",
        detail: {
          operationId: "setBucketRules",
          summary: "Give a bucket these rules instead of those it has.",
          description:
            "A quota that is passed already refuses what would make the bucket larger. " +
            "Expiry takes names away; references and pins still hold their objects.",
          tags,
        },
      },
    )
    .delete(
      "/v1/buckets/:bucket/rules",
      async ({ params: { bucket }, set }) => {
        await buckets.setRules(bucket, {});
        set.status = 204;
      },
      {
        params,
        detail: {
          operationId: "deleteBucketRules",
          summary: "Take a bucket's rules away.",
          description: "Idempotent.",
          tags,
          responses: { 204: { description: "It has none." } },
        },
      },
    );
}
