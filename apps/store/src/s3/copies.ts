/**
 * Copies and tags over S3. A copy is an object of its own that shares the
 * chunks of its source, and so is an object with other tags: no bytes move.
 */
import type { Objects } from "../objects/objects.ts";
import { readVerdict } from "../objects/conditions.ts";
import type { ObjectName, StoredObject } from "../objects/schema.ts";
import { Fault } from "@spear/shared/fault.ts";
import { checkOffered, documentTags, headerAttributes, headerTags } from "./attributes.ts";
import type { Handler, S3Call } from "./call.ts";
import { preconditionFailed, readConditions, writeCondition } from "./conditions.ts";
import { S3Error } from "./errors.ts";
import { shownTag } from "./etag.ts";
import { checkVersion } from "./objects.ts";
import { xmlResponse } from "./xml.ts";

const tries = 5;

/** The object that a copy is of, if the caller may read it and its conditions hold. */
export async function sourceOf(call: S3Call, objects: Objects): Promise<StoredObject> {
  const name = sourceName(call.headers.get("x-amz-copy-source") ?? "");
  call.need("read", name.bucket, name.key);
  const object = await objects.head(name);
  const conditions = readConditions(call.headers, "x-amz-copy-source-");
  if (readVerdict(conditions, object) !== "send") throw preconditionFailed();
  return object;
}

function sourceName(header: string): ObjectName {
  const invalid = () =>
    new S3Error(
      "InvalidArgument",
      "Copy Source must mention the source bucket and key: /sourcebucket/sourcekey",
    );
  const [path = "", version] = header.split("?versionId=", 2);
  checkVersion(version);
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    throw invalid();
  }
  const [, bucket = "", key = ""] = /^\/?([^/]+)\/(.+)$/s.exec(decoded) ?? [];
  if (bucket === "") throw invalid();
  return { bucket, key };
}

/** Errors: `InvalidArgument`. */
function replaces(headers: Headers, directive: string): boolean {
  const value = headers.get(directive) ?? "COPY";
  if (value === "COPY" || value === "REPLACE") return value === "REPLACE";
  throw new S3Error("InvalidArgument", `Unknown ${directive}.`);
}

export const copyObject: Handler = async (call, { objects }) => {
  const { headers } = call;
  checkOffered(headers);
  const newMetadata = replaces(headers, "x-amz-metadata-directive");
  const newTags = replaces(headers, "x-amz-tagging-directive");
  const source = await sourceOf(call, objects);
  if (source.bucket === call.bucket && source.key === call.key && !newMetadata && !newTags) {
    throw new S3Error(
      "InvalidRequest",
      "This copy request is illegal because it is trying to copy an object to itself without " +
        "changing the object's metadata, storage class, website redirect location or encryption attributes.",
    );
  }
  const { contentType, metadata, headers: travelling, tags } = source;
  const copy = await objects.copy({
    ...call.name,
    source: source.id,
    condition: writeCondition(headers),
    replace: {
      ...(newMetadata ? headerAttributes(headers) : { contentType, metadata, headers: travelling }),
      tags: newTags ? headerTags(headers) : tags,
    },
  });
  return xmlResponse(
    "CopyObjectResult",
    {
      LastModified: new Date(copy.createdAtMs).toISOString(),
      ETag: `"${shownTag(copy.etag)}"`,
    },
    { headers: { "x-spear-object-id": copy.id } },
  );
};

export const getTagging: Handler = async (call, { objects }) => {
  checkVersion(call.query.get("versionId"));
  const { tags } = await objects.head(call.name);
  return xmlResponse("Tagging", {
    TagSet: { Tag: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })) },
  });
};

export const putTagging: Handler = async (call, { objects }) => {
  await tag(call, objects, documentTags(await call.document("Tagging")));
  return new Response(null);
};

export const deleteTagging: Handler = async (call, { objects }) => {
  await tag(call, objects, {});
  return new Response(null, { status: 204 });
};

/** Gives the name an object with other tags, unless another put has won meanwhile. */
async function tag(call: S3Call, objects: Objects, tags: Record<string, string>): Promise<void> {
  checkVersion(call.query.get("versionId"));
  for (let left = tries; left > 0; left--) {
    const { id, generation, contentType, metadata, headers } = await objects.head(call.name);
    try {
      await objects.copy({
        ...call.name,
        source: id,
        condition: { ifGeneration: generation },
        replace: { contentType, metadata, headers, tags },
      });
      return;
    } catch (error) {
      if (Fault.from(error).code !== "precondition_failed") throw error;
    }
  }
  throw new S3Error("OperationAborted", "The object changes too often to be tagged; try again.");
}
