/** Shapes of multi-part uploads. */
import { Type, type Static } from "@sinclair/typebox";
import { conditionSchema } from "../objects/schema.ts";

export const uploadSchema = Type.Object(
  {
    id: Type.String({ description: "Id of the upload." }),
    bucket: Type.String({ description: "Bucket of the object to be." }),
    key: Type.String({ description: "Key of the object to be." }),
    contentType: Type.String({ description: "Media type of the object to be." }),
    metadata: Type.Record(Type.String(), Type.String(), { description: "Its metadata." }),
    headers: Type.Record(Type.String(), Type.String(), {
      description: "Headers that will travel with it.",
    }),
    tags: Type.Record(Type.String(), Type.String(), { description: "Its tags." }),
    createdAtMs: Type.Integer({ description: "When it was begun; milliseconds since 1970." }),
  },
  { $id: "Upload" },
);
export type Upload = Static<typeof uploadSchema>;

export const uploadListSchema = Type.Object(
  { uploads: Type.Array(uploadSchema, { description: "In the order of their keys." }) },
  { $id: "UploadList" },
);

export const partSchema = Type.Object(
  {
    number: Type.Integer({ description: "1–10,000." }),
    sizeBytes: Type.Integer({ description: "Size in bytes." }),
    etag: Type.String({ description: "Entity tag of the part, without quotes." }),
    sha256: Type.String({ description: "SHA-256 of the part, lower-case hex." }),
    createdAtMs: Type.Integer({ description: "When it was stored; milliseconds since 1970." }),
  },
  { $id: "UploadPart" },
);
export type Part = Static<typeof partSchema>;

export const partListSchema = Type.Object(
  {
    parts: Type.Array(partSchema, { description: "By number." }),
    nextPageToken: Type.Optional(Type.String({ description: "Token for the next page." })),
  },
  { $id: "UploadPartList" },
);

export const uploadBody = Type.Object(
  {
    key: Type.String({ description: "Key of the object to be." }),
    contentType: Type.Optional(Type.String({ description: "Its media type." })),
    metadata: Type.Optional(
      Type.Record(Type.String(), Type.String(), { description: "Its metadata." }),
    ),
  },
  { $id: "UploadRequest", additionalProperties: false },
);

export const completeBody = Type.Object(
  {
    parts: Type.Array(
      Type.Object(
        { number: Type.Integer({ minimum: 1, maximum: 10_000 }), etag: Type.String() },
        { additionalProperties: false },
      ),
      { minItems: 1, maxItems: 10_000, description: "The object's parts, by rising number." },
    ),
    condition: Type.Optional(conditionSchema),
  },
  { $id: "CompleteUploadRequest", additionalProperties: false },
);
