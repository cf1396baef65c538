/** Shapes of access keys, with which S3 clients sign. */
import { Type, type Static } from "@sinclair/typebox";

const actionSchema = Type.Union([
  Type.Literal("read"),
  Type.Literal("write"),
  Type.Literal("list"),
  Type.Literal("delete"),
]);
export type Action = Static<typeof actionSchema>;
export const actions: readonly Action[] = ["read", "write", "list", "delete"];

const grantSchema = Type.Object(
  {
    bucket: Type.String({
      maxLength: 63,
      description: "Name of a bucket, or * for all, also those to come.",
    }),
    prefix: Type.Optional(
      Type.String({ maxLength: 1_024, description: "Only keys that start with this." }),
    ),
    actions: Type.Array(actionSchema, {
      minItems: 1,
      maxItems: actions.length,
      description:
        "read and write objects, list and delete them; without a prefix also make (write) and " +
        "remove (delete) the bucket.",
    }),
  },
  { additionalProperties: false },
);
export type Grant = Static<typeof grantSchema>;

const fields = {
  id: Type.String({ description: "SPEAR…; what clients call the access key id." }),
  description: Type.String({ description: "What it is for." }),
  grants: Type.Array(grantSchema, { description: "What it allows; anything else is refused." }),
  createdAtMs: Type.Integer({ description: "When it was made; milliseconds since 1970." }),
  expiresAtMs: Type.Optional(
    Type.Integer({ description: "When it ends; milliseconds since 1970." }),
  ),
};

export const accessKeySchema = Type.Object(fields, { $id: "AccessKey" });
export type AccessKey = Static<typeof accessKeySchema>;

export const newAccessKeySchema = Type.Object(
  {
    ...fields,
    secret: Type.String({ description: "What requests are signed with; it is shown only now." }),
  },
  { $id: "NewAccessKey" },
);
export type NewAccessKey = Static<typeof newAccessKeySchema>;

export const accessKeyListSchema = Type.Object(
  { accessKeys: Type.Array(accessKeySchema, { description: "The oldest first." }) },
  { $id: "AccessKeyList" },
);

export const accessKeyBody = Type.Object(
  {
    description: Type.Optional(Type.String({ maxLength: 256, description: "What it is for." })),
    grants: Type.Optional(
      Type.Array(grantSchema, {
        minItems: 1,
        maxItems: 100,
        description: "What it allows. Default: everything in all buckets.",
      }),
    ),
    ttlMs: Type.Optional(
      Type.Integer({ minimum: 1, description: "How long it holds. Default: until it is removed." }),
    ),
  },
  { $id: "AccessKeyRequest", additionalProperties: false },
);
export type AccessKeyRequest = Static<typeof accessKeyBody>;
