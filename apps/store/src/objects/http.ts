/** Objects over REST: parse, call, encode. */
import { Elysia, t } from "elysia";
import { Fault } from "@spear/shared/fault.ts";
import { problemResponse } from "@spear/shared/http/problem.ts";
import { parseId, type ObjectId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import { rawOf, streamingAnswer } from "../http/listener.ts";
import { rangeAsked, readVerdict } from "./conditions.ts";
import { contentHeaders } from "./attributes.ts";
import type { CopyRequest, Objects, PutRequest } from "./objects.ts";
import type { ByteRange } from "./range.ts";
import {
  copyBody,
  deleteBody,
  deleteListSchema,
  objectListSchema,
  objectSchema,
} from "./schema.ts";
import { streamOf } from "./stream.ts";
import type { CopyBody, ObjectName, StoredObject, WriteCondition } from "./schema.ts";

const metaPrefix = "x-spear-meta-";
const objectPath = /^\/v1\/buckets\/([^/]+)\/objects\/(.*)$/s;
const tags = ["objects"];
const bytes = {
  "application/octet-stream": { schema: { type: "string" as const, format: "binary" } },
};

/** True for a request whose body is an object's bytes. */
export function streamsObject(method: string, path: string): boolean {
  return method === "PUT" && objectPath.test(path);
}

/** The bucket and key that a path names, as exactly the bytes that were sent. */
export function nameOfPath(path: string): ObjectName {
  const [, bucket = "", key = ""] = objectPath.exec(path) ?? [];
  try {
    return { bucket: decodeURIComponent(bucket), key: decodeURIComponent(key) };
  } catch {
    throw new Fault("invalid_argument", "key: is not valid percent-encoded UTF-8", {
      field: "key",
    });
  }
}

function writeCondition(headers: Headers): WriteCondition {
  const ifMatch = headers.get("if-match");
  const ifNoneMatch = headers.get("if-none-match");
  const generation = headers.get("x-spear-if-generation");
  if (ifNoneMatch !== null && ifNoneMatch.trim() !== "*") {
    throw new Fault("invalid_argument", "if-none-match: a write takes only *", {
      field: "if-none-match",
    });
  }
  if (generation !== null && !/^\d{1,15}$/.test(generation)) {
    throw new Fault("invalid_argument", "x-spear-if-generation: must be a number", {
      field: "x-spear-if-generation",
    });
  }
  return {
    ifMatch: ifMatch?.trim().replace(/^"(.*)"$/, "$1"),
    ifAbsent: ifNoneMatch !== null,
    ifGeneration: generation === null ? undefined : Number(generation),
    attempt: attemptOf(headers.get("x-spear-attempt")),
  };
}

/** `task_…/3`: the attempt on whose behalf something is put. */
function attemptOf(text: string | null): WriteCondition["attempt"] {
  if (text === null) return undefined;
  const [, taskId, attempt] = /^([^/]*)\/(\d{1,9})$/.exec(text) ?? [];
  return {
    taskId: parseId("task", taskId, "x-spear-attempt"),
    attempt: Number(attempt),
  };
}

function putRequest(name: ObjectName, headers: Headers): PutRequest {
  const metadata: Record<string, string> = {};
  headers.forEach((value, header) => {
    if (header.startsWith(metaPrefix)) metadata[header.slice(metaPrefix.length)] = value;
  });
  const travelling = contentHeaders.flatMap((header): [string, string][] => {
    const value = headers.get(header);
    return value === null ? [] : [[header, value]];
  });
  const length = headers.get("content-length");
  return {
    ...name,
    headers: Object.fromEntries(travelling),
    contentType: headers.get("content-type") ?? undefined,
    metadata,
    sha256: headers.get("x-spear-sha256") ?? undefined,
    sizeBytes: length === null ? undefined : Number(length),
    condition: writeCondition(headers),
  };
}

function objectHeaders(object: StoredObject): Headers {
  const headers = new Headers({
    ...object.headers,
    etag: `"${object.etag}"`,
    "content-type": object.contentType,
    "last-modified": new Date(object.createdAtMs).toUTCString(),
    "accept-ranges": "bytes",
    "x-content-type-options": "nosniff",
    "x-spear-object-id": object.id,
    "x-spear-generation": String(object.generation),
  });
  if (object.sha256 !== "") headers.set("x-spear-sha256", object.sha256);
  for (const [name, value] of Object.entries(object.metadata)) {
    headers.set(metaPrefix + name, value);
  }
  return headers;
}

function setLength(headers: Headers, object: StoredObject, range: ByteRange | undefined): void {
  const { start, end } = range ?? { start: 0, end: object.sizeBytes };
  headers.set("content-length", String(end - start));
  if (range !== undefined) {
    headers.set("content-range", `bytes ${start}-${end - 1}/${object.sizeBytes}`);
  }
}

/** What a GET asks for, once the object is known. Errors: `precondition_failed`. */
function verdictOf(headers: Headers, object: StoredObject): "send" | "not_modified" {
  const verdict = readVerdict(headers, object);
  if (verdict !== "precondition_failed") return verdict;
  throw new Fault("precondition_failed", "the object is not as the condition wants it");
}

async function head(objects: Objects, target: ObjectName | ObjectId, request: Request) {
  const { headers } = request;
  const object = await objects.head(target);
  const answer = objectHeaders(object);
  if (verdictOf(headers, object) === "not_modified") {
    return new Response(null, { status: 304, headers: answer });
  }
  rawOf(request).headBytes = object.sizeBytes;
  return new Response(null, { headers: answer });
}

async function get(objects: Objects, target: ObjectName | ObjectId, request: Request, log: Log) {
  // Elysia brings a HEAD here, whatever route there is for it.
  if (request.method === "HEAD") return head(objects, target, request);
  const { headers } = request;
  let unmodified = false;
  let sizeBytes = 0;
  const opening = objects.open(target, rawOf(request).signal, (object) => {
    ({ sizeBytes } = object);
    unmodified = verdictOf(headers, object) === "not_modified";
    return unmodified ? undefined : rangeAsked(headers, object);
  });
  const opened = await opening.catch((error: unknown) => {
    const fault = Fault.from(error);
    if (fault.code !== "range_not_satisfiable") throw error;
    const refusal = problemResponse(fault, log);
    refusal.headers.set("content-range", `bytes */${sizeBytes}`);
    return refusal;
  });
  if (opened instanceof Response) return opened;
  const answer = objectHeaders(opened.object);
  if (unmodified) return new Response(null, { status: 304, headers: answer });
  setLength(answer, opened.object, opened.range);
  return streamingAnswer(request, await streamOf(opened, log), {
    status: opened.range === undefined ? 200 : 206,
    headers: answer,
  });
}

const json = (schema: string, description: string) => ({
  description,
  content: { "application/json": { schema: { $ref: `#/components/schemas/${schema}` } } },
});
const bytesAnswers = {
  200: { description: "The bytes.", content: bytes },
  206: { description: "The range of the bytes.", content: bytes },
  304: { description: "The client's copy is current." },
};
const nameParams = t.Object({
  bucket: t.String({ description: "Bucket." }),
  "*": t.String({ description: "Key, percent-encoded; slashes may stand as they are." }),
});
const idParams = t.Object({ id: t.String({ description: "obj_…" }) });

const listQuery = t.Object(
  {
    prefix: t.Optional(t.String({ description: "Only keys that start with this." })),
    delimiter: t.Optional(
      t.String({
        description: "Roll up keys that share what stands before this behind the prefix.",
      }),
    ),
    pageSize: t.Optional(
      // Elysia's own: only that takes a number from the text of a query.
      t.Integer({ minimum: 1, maximum: 1_000, description: "Default 1,000." }),
    ),
    pageToken: t.Optional(t.String({ description: "nextPageToken of the page before." })),
    startAfter: t.Optional(t.String({ description: "Only keys behind this one." })),
  },
  { additionalProperties: false },
);

export function objectRoutes(objects: Objects, log: Log) {
  const named = (request: Request) => nameOfPath(rawOf(request).path);
  return new Elysia({ normalize: false })
    .model({
      Object: objectSchema,
      ObjectList: objectListSchema,
      CopyRequest: copyBody,
      DeleteRequest: deleteBody,
      DeleteList: deleteListSchema,
    })
    .put(
      "/v1/buckets/:bucket/objects/*",
      async ({ request }) => {
        const { path, body, signal } = rawOf(request);
        const object = await objects.put(
          putRequest(nameOfPath(path), request.headers),
          body,
          signal,
        );
        return Response.json(object, {
          headers: { etag: `"${object.etag}"`, "x-spear-object-id": object.id },
        });
      },
      {
        parse: "none",
        params: nameParams,
        detail: {
          operationId: "putObject",
          summary: "Store an object.",
          description:
            "The body is the object's bytes. It becomes visible whole or not at all. " +
            "Headers: content-type, cache-control, content-disposition, content-encoding, " +
            "content-language, expires, x-spear-sha256, x-spear-meta-*, if-match, " +
            "if-none-match: *, x-spear-if-generation, x-spear-attempt: task_…/N (it must be " +
            "the task's current attempt and run).",
          tags,
          requestBody: { required: true, content: bytes },
          responses: { 200: json("Object", "The object as it was stored.") },
        },
      },
    )
    .get(
      "/v1/buckets/:bucket/objects/*",
      ({ request }) => get(objects, named(request), request, log),
      {
        params: nameParams,
        detail: {
          operationId: "getObject",
          summary: "Read an object.",
          description: "Honours Range, If-Range, If-Match, If-None-Match and their dates.",
          tags,
          responses: bytesAnswers,
        },
      },
    )
    .head(
      "/v1/buckets/:bucket/objects/*",
      ({ request }) => head(objects, named(request), request),
      {
        params: nameParams,
        detail: {
          operationId: "headObject",
          summary: "Metadata of an object, in headers.",
          tags,
          responses: { 200: { description: "There is such an object." } },
        },
      },
    )
    .delete(
      "/v1/buckets/:bucket/objects/*",
      async ({ request }) => ({
        deleted: await objects.delete(named(request), writeCondition(request.headers)),
      }),
      {
        params: nameParams,
        response: t.Object({
          deleted: t.Boolean({ description: "There was something to delete." }),
        }),
        detail: {
          operationId: "deleteObject",
          summary: "Take an object's name away.",
          description: "Idempotent. The object goes when nothing else keeps it.",
          tags,
        },
      },
    )
    .get(
      "/v1/buckets/:bucket/objects",
      ({ params, query }) => objects.list({ bucket: params.bucket, ...query }),
      {
        params: t.Object({ bucket: t.String({ description: "Bucket." }) }),
        query: listQuery,
        response: "ObjectList",
        detail: {
          operationId: "listObjects",
          summary: "A page of a bucket's objects, in the order of their keys' bytes.",
          tags,
        },
      },
    )
    .post(
      "/v1/buckets/:bucket/deletions",
      async ({ params, body }) => ({
        results: (await objects.deleteAll(params.bucket, body.keys)).map(
          ({ key, deleted, fault }) => ({
            key,
            deleted,
            ...(fault === undefined
              ? {}
              : { failure: { code: fault.code, message: fault.message } }),
          }),
        ),
      }),
      {
        params: t.Object({ bucket: t.String({ description: "Bucket." }) }),
        body: "DeleteRequest",
        response: "DeleteList",
        detail: {
          operationId: "deleteObjects",
          summary: "Take up to 1,000 names away, each on its own.",
          tags,
        },
      },
    )
    .get(
      "/v1/objects/:id",
      ({ params, request }) => get(objects, parseId("obj", params.id, "id"), request, log),
      {
        params: idParams,
        detail: {
          operationId: "getObjectById",
          summary: "Read an object by its id, named or not.",
          tags,
          responses: bytesAnswers,
        },
      },
    )
    .head(
      "/v1/objects/:id",
      ({ params, request }) => head(objects, parseId("obj", params.id, "id"), request),
      {
        params: idParams,
        detail: {
          operationId: "headObjectById",
          summary: "Metadata of an object by its id, in headers.",
          tags,
          responses: { 200: { description: "There is such an object." } },
        },
      },
    )
    .get("/v1/objects/:id/info", ({ params: { id } }) => objects.head(parseId("obj", id, "id")), {
      params: idParams,
      response: "Object",
      detail: {
        operationId: "getObjectInfo",
        summary: "All that is known of an object by its id, as JSON.",
        tags,
      },
    })
    .post("/v1/copies", ({ body }) => objects.copy(copyRequest(body)), {
      body: "CopyRequest",
      response: "Object",
      detail: {
        operationId: "copyObject",
        summary: "Give an object another name without moving its bytes.",
        tags,
      },
    });
}

function copyRequest({ objectId, source, ...rest }: CopyBody): CopyRequest {
  if ((objectId === undefined) === (source === undefined)) {
    throw new Fault("invalid_argument", "objectId: give objectId or source, one of them", {
      field: "objectId",
    });
  }
  return { ...rest, source: source ?? parseId("obj", objectId, "objectId") };
}
