/** Shapes of what keeps an object. */
import { Type, type Static } from "@sinclair/typebox";

export const refBody = Type.Object(
  {
    holder: Type.String({
      description: 'Who holds it, as "task/task_…/1", "job/job_…" or "user/ann".',
    }),
    ttlMs: Type.Optional(
      Type.Integer({
        minimum: 0,
        description: "The reference ends by itself after this long, in milliseconds; 0: never.",
      }),
    ),
  },
  { $id: "RefRequest", additionalProperties: false },
);

export const whySchema = Type.Object(
  {
    objectId: Type.String({ description: "obj_…" }),
    kept: Type.Boolean({ description: "Something keeps it." }),
    names: Type.Array(Type.Object({ bucket: Type.String(), key: Type.String() }), {
      description: "Names that point at it; the first 1,000.",
    }),
    pinned: Type.Boolean({ description: "It is pinned." }),
    refs: Type.Array(
      Type.Object({
        holder: Type.String(),
        endsAtMs: Type.Optional(
          Type.Integer({ description: "When it ends by itself; absent: never." }),
        ),
      }),
      { description: "References; the first 1,000." },
    ),
    unkeptSinceMs: Type.Optional(
      Type.Integer({ description: "Since when nothing keeps it; milliseconds since 1970." }),
    ),
    collectedAfterMs: Type.Optional(
      Type.Integer({ description: "When it may be collected if nothing keeps it until then." }),
    ),
  },
  { $id: "Why" },
);
export type Why = Static<typeof whySchema>;
