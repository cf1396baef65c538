/**
 * The node's view of the Object Store over REST: parses, calls, encodes. An object's name
 * is in the query: the listener would rewrite some keys in a path.
 */
import { Fault } from "@spear/shared/fault.ts";
import { parseId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import type { ObjectInfo, ObjectTarget } from "@spear/shared/store/schema.ts";
import { Elysia, t } from "elysia";
import type { NodeObjects } from "./objects.ts";

export interface ObjectHttpDeps {
  objects: NodeObjects;
  log: Log;
}

const closed = { additionalProperties: false } as const;
const tags = ["objects"];
const path = "/v1/objects";
const metaPrefix = "x-spear-meta-";
const bytes = {
  "application/octet-stream": { schema: { type: "string" as const, format: "binary" } },
};

/** True for a request whose body is an object's bytes. */
export function streamsObject(pathname: string): boolean {
  return pathname === path;
}

const name = {
  bucket: t.Optional(t.String({ description: "Bucket, with key." })),
  key: t.Optional(t.String({ description: "Key, with bucket." })),
  id: t.Optional(t.String({ description: "Or the object's id, obj_…" })),
};
const headQuery = t.Object(name, closed);
const getQuery = t.Object(
  {
    ...name,
    offset: t.Optional(t.Integer({ minimum: 0, description: "First byte." })),
    length: t.Optional(t.Integer({ minimum: 1, description: "Number of bytes." })),
  },
  closed,
);
const putQuery = t.Object(
  {
    bucket: t.String({ description: "Bucket." }),
    key: t.String({ description: "Key." }),
    sha256: t.Optional(t.String({ description: "Expected SHA-256 in hex." })),
    ifMatch: t.Optional(t.String({ description: "The name must point at this ETag." })),
    ifAbsent: t.Optional(
      t.Union([t.Literal("true"), t.Literal("false")], {
        description: "The name must point at nothing.",
      }),
    ),
    ifGeneration: t.Optional(
      t.Integer({ minimum: 0, description: "The name must point at this generation's object." }),
    ),
  },
  closed,
);

const StoredObject = t.Object(
  {
    id: t.String({ description: "obj_…" }),
    bucket: t.String(),
    key: t.String(),
    sizeBytes: t.Integer(),
    sha256: t.String({ description: "Lower-case hex; empty if it came in several parts." }),
    etag: t.String(),
    contentType: t.String(),
    metadata: t.Record(t.String(), t.String()),
    headers: t.Record(t.String(), t.String()),
    tags: t.Record(t.String(), t.String()),
    createdAtMs: t.Integer(),
    generation: t.Integer(),
    pinned: t.Boolean(),
    refs: t.Array(t.String(), { description: "Holders of references." }),
  },
  { $id: "StoredObject", description: "An object as the store has it." },
);

function targetOf(query: { bucket?: string; key?: string; id?: string }): ObjectTarget {
  const { bucket, key, id } = query;
  if (id !== undefined && bucket === undefined && key === undefined) {
    return parseId("obj", id, "id");
  }
  if (id === undefined && bucket !== undefined && key !== undefined) return { bucket, key };
  throw new Fault("invalid_argument", "query: give bucket and key, or id", { field: "query" });
}

function headersOf(info: ObjectInfo): Headers {
  const headers = new Headers({
    "content-type": info.contentType,
    "x-content-type-options": "nosniff",
    "x-spear-object-id": info.id,
    "x-spear-size": String(info.sizeBytes),
    "x-spear-generation": String(info.generation),
    etag: `"${info.etag}"`,
  });
  if (info.sha256 !== "") headers.set("x-spear-sha256", info.sha256);
  for (const [key, value] of Object.entries(info.metadata)) headers.set(metaPrefix + key, value);
  return headers;
}

function metadataOf(headers: Headers): Record<string, string> {
  const metadata: Record<string, string> = {};
  headers.forEach((value, header) => {
    if (header.startsWith(metaPrefix)) metadata[header.slice(metaPrefix.length)] = value;
  });
  return metadata;
}

/** A body whose first piece was read before any header leaves, so that its failure is a status. */
async function bodyOf(
  pieces: AsyncGenerator<Uint8Array>,
  info: ObjectInfo,
  log: Log,
): Promise<ReadableStream<Uint8Array>> {
  let next: IteratorResult<Uint8Array> | undefined = await pieces.next();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const piece = next ?? (await pieces.next());
          next = undefined;
          if (piece.done === true) controller.close();
          else controller.enqueue(piece.value);
        } catch (error) {
          log.error({ err: error, objectId: info.id }, "an object broke off while it was read");
          controller.error(error);
        }
      },
      async cancel() {
        await pieces.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}

export function objectRoutes({ objects, log }: ObjectHttpDeps) {
  return new Elysia()
    .model({ StoredObject })
    .get(
      path,
      async ({ query, request }) => {
        const { offset = 0, length } = query;
        const opened = await objects.open(targetOf(query), { offset, length }, request.signal);
        const { info, body } = opened;
        return new Response(await bodyOf(body, info, log), { headers: headersOf(info) });
      },
      {
        query: getQuery,
        detail: {
          operationId: "getObject",
          summary: "Read an object through the node's cache, whole or a range.",
          tags,
          responses: { 200: { description: "The bytes.", content: bytes } },
        },
      },
    )
    .head(
      path,
      async ({ query, request }) => {
        const info = await objects.head(targetOf(query), request.signal);
        return new Response(null, { headers: headersOf(info) });
      },
      {
        query: headQuery,
        detail: {
          operationId: "headObject",
          summary: "Metadata of an object, in headers.",
          tags,
          responses: { 200: { description: "There is such an object." } },
        },
      },
    )
    .put(
      path,
      ({ query, request }) => {
        const { bucket, key, sha256, ifMatch, ifAbsent, ifGeneration } = query;
        const { headers, body, signal } = request;
        const length = headers.get("content-length");
        return objects.put(
          {
            bucket,
            key,
            sha256,
            contentType: headers.get("content-type") ?? undefined,
            metadata: metadataOf(headers),
            sizeBytes: length === null ? undefined : Number(length),
            condition: { ifMatch, ifAbsent: ifAbsent === "true", ifGeneration },
          },
          body ?? new Uint8Array(),
          signal,
        );
      },
      {
        parse: "none",
        query: putQuery,
        response: t.Ref(StoredObject),
        detail: {
          operationId: "putObject",
          summary: "Store an object: the body is its bytes.",
          description:
            "It becomes visible whole or not at all. Headers: content-type, x-spear-meta-*.",
          tags,
          requestBody: { required: true, content: bytes },
        },
      },
    );
}
