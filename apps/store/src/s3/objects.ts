/** Objects over S3: read, put, delete. */
import { rangeAsked } from "../objects/conditions.ts";
import type { ByteRange } from "../objects/range.ts";
import type { StoredObject } from "../objects/schema.ts";
import { streamingAnswer } from "../http/listener.ts";
import { streamOf } from "../objects/stream.ts";
import { checkOffered, headerAttributes, headerTags, metadataHeaders } from "./attributes.ts";
import type { Handler, S3Call } from "./call.ts";
import { checkRead, writeCondition } from "./conditions.ts";
import { S3Error } from "./errors.ts";
import { knownTags, shownTag } from "./etag.ts";
import { elementsOf, malformedXml, textOf, xmlResponse, type Element } from "./xml.ts";

const mostDeletions = 1_000;
/** Headers of the answer that a request may choose. */
const overrides = [
  "content-type",
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "expires",
];

/** Every key has one version, called null. Errors: `NoSuchVersion`. */
export function checkVersion(version: string | undefined): void {
  if (version === undefined || version === "" || version === "null") return;
  throw new S3Error("NoSuchVersion", "The specified version does not exist.");
}

function answerHeaders(call: S3Call, object: StoredObject, range: ByteRange | undefined): Headers {
  const { start, end } = range ?? { start: 0, end: object.sizeBytes };
  const headers = new Headers({
    ...object.headers,
    ...metadataHeaders(object),
    etag: `"${shownTag(object.etag)}"`,
    "content-type": object.contentType,
    "content-length": String(end - start),
    "last-modified": new Date(object.createdAtMs).toUTCString(),
    "accept-ranges": "bytes",
    "x-content-type-options": "nosniff",
    "x-spear-object-id": object.id,
  });
  if (range !== undefined) {
    headers.set("content-range", `bytes ${start}-${end - 1}/${object.sizeBytes}`);
  }
  for (const name of overrides) {
    const value = call.query.get(`response-${name}`);
    if (value !== undefined && /^[\x20-\x7e]*$/.test(value)) headers.set(name, value);
  }
  return headers;
}

/** The headers of a request, its tags as objects have them. */
function knownHeaders(headers: Headers): Headers {
  const known = new Headers(headers);
  const ifRange = headers.get("if-range");
  if (ifRange?.startsWith('"') === true) known.set("if-range", knownTags(ifRange));
  return known;
}

export const getObject: Handler = async (call, { objects, log }) => {
  checkVersion(call.query.get("versionId"));
  let unmodified = false;
  const opened = await objects.open(call.name, call.signal, (object) => {
    unmodified = checkRead(call.headers, object) === "not_modified";
    return unmodified ? undefined : rangeAsked(knownHeaders(call.headers), object);
  });
  const headers = answerHeaders(call, opened.object, opened.range);
  if (unmodified) return notModified(headers);
  return streamingAnswer(call.request, await streamOf(opened, log), {
    status: opened.range === undefined ? 200 : 206,
    headers,
  });
};

export const headObject: Handler = async (call, { objects }) => {
  checkVersion(call.query.get("versionId"));
  const object = await objects.head(call.name);
  const headers = answerHeaders(call, object, undefined);
  if (checkRead(call.headers, object) === "not_modified") return notModified(headers);
  return new Response(null, { headers });
};

function notModified(headers: Headers): Response {
  headers.delete("content-length");
  return new Response(null, { status: 304, headers });
}

export const putObject: Handler = async (call, { objects }) => {
  const { headers, payload } = call;
  checkOffered(headers);
  const object = await objects.put(
    {
      ...call.name,
      ...headerAttributes(headers),
      tags: headerTags(headers),
      sizeBytes: payload.sizeBytes,
      sha256: payload.sha256,
      etag: () => payload.md5,
      condition: writeCondition(headers),
    },
    payload.bytes(),
    call.signal,
  );
  return new Response(null, {
    headers: {
      ...payload.confirmed,
      etag: `"${object.etag}"`,
      "x-spear-object-id": object.id,
    },
  });
};

/** Takes the name away; who holds the object by a reference or a pin keeps it. */
export const deleteObject: Handler = async (call, { objects }) => {
  checkVersion(call.query.get("versionId"));
  await objects.delete(call.name, writeCondition(call.headers));
  return new Response(null, { status: 204 });
};

export const deleteObjects: Handler = async (call, { objects }) => {
  const document = await call.document("Delete");
  const asked = elementsOf(document, "Object");
  if (asked.length === 0 || asked.length > mostDeletions) throw malformedXml();
  const refusals: Refusal[] = [];
  const keys = asked.flatMap((element) => {
    const key = textOf(element, "Key") ?? "";
    const refusal = refusalOf(call, element, key);
    if (refusal === undefined) return [key];
    refusals.push(refusal);
    return [];
  });
  const results = await objects.deleteAll(call.bucket, keys);
  for (const { key, fault } of results) {
    if (fault !== undefined) refusals.push({ key, error: S3Error.from(fault) });
  }
  const quiet = textOf(document, "Quiet")?.trim() === "true";
  return xmlResponse("DeleteResult", {
    Deleted: quiet
      ? []
      : results.filter(({ fault }) => fault === undefined).map(({ key }) => ({ Key: key })),
    Error: refusals.map(({ key, error }) => ({
      Key: key,
      Code: error.code,
      Message: error.message,
    })),
  });
};

interface Refusal {
  key: string;
  error: S3Error;
}

/** Why a key may not be deleted; undefined if it may. */
function refusalOf(call: S3Call, element: Element, key: string): Refusal | undefined {
  try {
    checkVersion(textOf(element, "VersionId"));
    if (textOf(element, "ETag") !== undefined) {
      throw new S3Error("NotImplemented", "Conditions are taken with single deletions only.");
    }
    call.need("delete", call.bucket, key);
    return undefined;
  } catch (error) {
    return { key, error: S3Error.from(error) };
  }
}
