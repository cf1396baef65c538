/** What S3's headers say of an object: media type, metadata, travelling headers, tags. */
import { contentHeaders, type GivenAttributes } from "../objects/attributes.ts";
import type { StoredObject } from "../objects/schema.ts";
import { S3Error } from "./errors.ts";
import { childOf, elementsOf, textOf, type Element } from "./xml.ts";

const metaPrefix = "x-amz-meta-";

/** Headers that ask for what is not offered; to leave it out in silence would be a lie. */
const refused = [
  "x-amz-server-side-encryption",
  "x-amz-object-lock-mode",
  "x-amz-object-lock-legal-hold",
  "x-amz-website-redirect-location",
  "x-amz-write-offset-bytes",
];

/** Refuses what a write asks for and nobody would do. Errors: `NotImplemented`, `AccessControlListNotSupported`. */
export function checkOffered(headers: Headers): void {
  for (const name of headers.keys()) {
    if (!refused.some((one) => name.startsWith(one))) continue;
    throw new S3Error(
      "NotImplemented",
      `A header you provided implies functionality that is not implemented: ${name}`,
    );
  }
  const acl = headers.get("x-amz-acl");
  const grants = [...headers.keys()].some((name) => name.startsWith("x-amz-grant-"));
  if (!grants && (acl === null || acl === "private" || acl === "bucket-owner-full-control")) return;
  throw new S3Error("AccessControlListNotSupported", "The bucket does not allow ACLs.");
}

/** Media type, metadata and travelling headers of a write. */
export function headerAttributes(headers: Headers): GivenAttributes {
  const metadata: Record<string, string> = {};
  const travelling: Record<string, string> = {};
  headers.forEach((value, name) => {
    if (name.startsWith(metaPrefix)) metadata[name.slice(metaPrefix.length)] = value;
  });
  for (const name of contentHeaders) {
    const value = headers.get(name);
    if (value !== null) travelling[name] = value;
  }
  const encoding = withoutChunking(travelling["content-encoding"] ?? "");
  if (encoding === "") delete travelling["content-encoding"];
  else travelling["content-encoding"] = encoding;
  return {
    contentType: headers.get("content-type") ?? undefined,
    metadata,
    headers: travelling,
  };
}

/** aws-chunked is how the bytes came, not what they are. */
function withoutChunking(encoding: string): string {
  return encoding
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "aws-chunked")
    .join(", ");
}

/** Tags of the header x-amz-tagging. Errors: `InvalidArgument`. */
export function headerTags(headers: Headers): Record<string, string> {
  const tags: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(headers.get("x-amz-tagging") ?? "")) {
    if (Object.hasOwn(tags, name)) {
      throw new S3Error("InvalidArgument", "The header x-amz-tagging names a tag twice.");
    }
    tags[name] = value;
  }
  return tags;
}

/** Tags of a document. Errors: `MalformedXML`, `InvalidTag`. */
export function documentTags(tagging: Element): Record<string, string> {
  const tags: Record<string, string> = {};
  for (const tag of elementsOf(childOf(tagging, "TagSet"), "Tag")) {
    const name = textOf(tag, "Key") ?? "";
    if (Object.hasOwn(tags, name)) {
      throw new S3Error("InvalidTag", "Cannot provide multiple Tags with the same key");
    }
    tags[name] = textOf(tag, "Value") ?? "";
  }
  return tags;
}

/** Headers that tell of an object's metadata. */
export function metadataHeaders({ metadata, tags }: StoredObject): Record<string, string> {
  const count = Object.keys(tags).length;
  return {
    ...Object.fromEntries(
      Object.entries(metadata).map(([name, value]) => [metaPrefix + name, value]),
    ),
    ...(count === 0 ? {} : { "x-amz-tagging-count": String(count) }),
  };
}
