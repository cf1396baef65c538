/** Shapes of buckets on the wire. */
import { Type, type Static } from "@sinclair/typebox";

export const bucketSchema = Type.Object(
  {
    name: Type.String({ description: "3–63 of lower-case letters, digits, '.' and '-'." }),
    createdAtMs: Type.Integer({ description: "When it was made; milliseconds since 1970." }),
  },
  { $id: "Bucket" },
);
export type Bucket = Static<typeof bucketSchema>;

export const bucketListSchema = Type.Object(
  { buckets: Type.Array(bucketSchema, { description: "By name." }) },
  { $id: "BucketList" },
);

export const bucketRulesSchema = Type.Object(
  {
    maxBytes: Type.Optional(
      Type.Integer({ minimum: 0, description: "Quota of bytes, of all names together." }),
    ),
    maxObjects: Type.Optional(Type.Integer({ minimum: 0, description: "Quota of names." })),
    expiry: Type.Optional(
      Type.Array(
        Type.Object(
          {
            prefix: Type.String({ description: "Of the keys that it is about; empty: all." }),
            afterMs: Type.Integer({
              minimum: 1,
              description: "Names go this long after their object was stored, in milliseconds.",
            }),
          },
          { additionalProperties: false },
        ),
        { maxItems: 100, description: "When names go by themselves; the earliest counts." },
      ),
    ),
  },
  { $id: "BucketRules", additionalProperties: false },
);
export type BucketRules = Static<typeof bucketRulesSchema>;
/** Rules as they come in: what is undefined is absent. */
export type GivenRules = { [Rule in keyof BucketRules]: BucketRules[Rule] | undefined };

export const bucketUsageSchema = Type.Object(
  {
    objects: Type.Integer({ description: "Names in the bucket." }),
    sizeBytes: Type.Integer({ description: "Bytes of what they point at." }),
  },
  { $id: "BucketUsage" },
);
export type BucketUsage = Static<typeof bucketUsageSchema>;
