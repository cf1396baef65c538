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
