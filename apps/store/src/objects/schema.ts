/** Shapes of objects on the wire; the same fields as store.proto's, in camelCase. */
import { Type, type Static } from "@sinclair/typebox";
import type { ObjectId, TaskId } from "@spear/shared/ids.ts";

export const objectSchema = Type.Object(
  {
    id: Type.String({ description: "obj_…" }),
    bucket: Type.String({ description: "Bucket that names it; empty if none does any more." }),
    key: Type.String({ description: "Key that names it." }),
    sizeBytes: Type.Integer({ minimum: 0, description: "Size in bytes." }),
    sha256: Type.String({
      description: "SHA-256 of the bytes, lower-case hex; empty if it came in several parts.",
    }),
    etag: Type.String({ description: "Entity tag, without quotes." }),
    contentType: Type.String({ description: "Media type." }),
    metadata: Type.Record(Type.String(), Type.String(), { description: "User's metadata." }),
    headers: Type.Record(Type.String(), Type.String(), {
      description: "Headers that travel with it, as cache-control; lower-case names.",
    }),
    tags: Type.Record(Type.String(), Type.String(), { description: "Tags." }),
    createdAtMs: Type.Integer({ description: "When it was stored; milliseconds since 1970." }),
    generation: Type.Integer({
      description: "Number of the change that gave the name this target; 0 if nothing names it.",
    }),
    pinned: Type.Boolean({ description: "It is pinned." }),
    refs: Type.Array(Type.String(), { description: "Holders of references." }),
  },
  { $id: "Object" },
);
export type StoredObject = Static<typeof objectSchema> & { id: ObjectId };

/** Conditions on what a name points at before a change; all that are set must hold. */
export interface WriteCondition {
  ifMatch?: string | undefined;
  ifAbsent?: boolean | undefined;
  /** 0: the name must point at nothing. */
  ifGeneration?: number | undefined;
  /** Only for a put: this attempt must be its task's current one and run. */
  attempt?: { taskId: TaskId; attempt: number } | undefined;
}

export interface ObjectName {
  bucket: string;
  key: string;
}

export const objectListSchema = Type.Object(
  {
    objects: Type.Array(objectSchema, { description: "In the order of their keys' bytes." }),
    prefixes: Type.Array(Type.String(), { description: "Prefixes that were rolled up." }),
    nextPageToken: Type.Optional(Type.String({ description: "Token for the next page." })),
  },
  { $id: "ObjectList" },
);

const nameSchema = Type.Object(
  { bucket: Type.String(), key: Type.String() },
  { additionalProperties: false },
);

export const conditionSchema = Type.Object(
  {
    ifMatch: Type.Optional(Type.String({ description: "It must point at this ETag." })),
    ifAbsent: Type.Optional(Type.Boolean({ description: "It must point at nothing." })),
    ifGeneration: Type.Optional(
      Type.Integer({ minimum: 0, description: "It must point at this generation's object." }),
    ),
  },
  { additionalProperties: false, description: "Conditions on what the name points at." },
);

export const copyBody = Type.Object(
  {
    objectId: Type.Optional(Type.String({ description: "Id of the object to name." })),
    source: Type.Optional(nameSchema),
    bucket: Type.String({ description: "New bucket." }),
    key: Type.String({ description: "New key." }),
    condition: Type.Optional(conditionSchema),
    replace: Type.Optional(
      Type.Object(
        {
          contentType: Type.Optional(Type.String()),
          metadata: Type.Optional(Type.Record(Type.String(), Type.String())),
        },
        {
          additionalProperties: false,
          description: "Give the copy its own media type and metadata, and so its own id.",
        },
      ),
    ),
  },
  { $id: "CopyRequest", additionalProperties: false },
);

export const deleteBody = Type.Object(
  { keys: Type.Array(Type.String(), { maxItems: 1_000, description: "Keys to delete." }) },
  { $id: "DeleteRequest", additionalProperties: false },
);

export const deleteListSchema = Type.Object(
  {
    results: Type.Array(
      Type.Object({
        key: Type.String(),
        deleted: Type.Boolean({ description: "There was something to delete." }),
        failure: Type.Optional(Type.Object({ code: Type.String(), message: Type.String() })),
      }),
    ),
  },
  { $id: "DeleteList" },
);

export type CopyBody = Static<typeof copyBody>;
