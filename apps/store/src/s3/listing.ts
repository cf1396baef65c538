/** Listings over S3: both versions of ListObjects, and the versions, of which each key has one. */
import type { ListPage } from "../objects/objects.ts";
import type { StoredObject } from "../objects/schema.ts";
import { owner } from "./buckets.ts";
import type { Handler, S3Call, S3Services } from "./call.ts";
import { S3Error } from "./errors.ts";
import { shownTag } from "./etag.ts";
import { xmlResponse } from "./xml.ts";

const mostKeys = 1_000;

/** How keys are written: as they are, or encoded where the client asks for it. */
function keyWriter(call: S3Call): (key: string) => string {
  const encoding = call.query.get("encoding-type");
  if (encoding === undefined || encoding === "") return (key) => key;
  if (encoding === "url") {
    return (key) => encodeURIComponent(key).replaceAll("%2F", "/").replaceAll("'", "%27");
  }
  throw new S3Error("InvalidArgument", "Invalid Encoding Method specified in Request");
}

function contentOf(object: StoredObject, write: (key: string) => string) {
  return {
    Key: write(object.key),
    LastModified: new Date(object.createdAtMs).toISOString(),
    ETag: `"${shownTag(object.etag)}"`,
    Size: object.sizeBytes,
    StorageClass: "STANDARD",
  };
}

interface Asked {
  prefix: string;
  delimiter: string;
  maxKeys: number;
  write: (key: string) => string;
}

function askedOf(call: S3Call): Asked {
  return {
    prefix: call.query.get("prefix") ?? "",
    delimiter: call.query.get("delimiter") ?? "",
    maxKeys: call.count("max-keys", mostKeys),
    write: keyWriter(call),
  };
}

/** A page; of no keys it is empty, as S3 has it. */
async function pageOf(
  { objects, buckets }: S3Services,
  bucket: string,
  { prefix, delimiter, maxKeys }: Asked,
  from: { startAfter?: string | undefined; pageToken?: string | undefined },
): Promise<ListPage> {
  if (maxKeys > 0) {
    return objects.list({ bucket, prefix, delimiter, pageSize: maxKeys, ...from });
  }
  await buckets.get(bucket);
  return { objects: [], prefixes: [] };
}

/** The last of a page in the order of its bytes, behind which the next one begins. */
function lastOf(page: ListPage): string {
  const key = page.objects.at(-1)?.key ?? "";
  const prefix = page.prefixes.at(-1) ?? "";
  return Buffer.compare(Buffer.from(key), Buffer.from(prefix)) < 0 ? prefix : key;
}

/** What all listings say of themselves. */
function described(call: S3Call, { prefix, delimiter, maxKeys, write }: Asked, page: ListPage) {
  return {
    Name: call.bucket,
    Prefix: write(prefix),
    Delimiter: delimiter === "" ? undefined : write(delimiter),
    MaxKeys: maxKeys,
    EncodingType: call.query.get("encoding-type") || undefined,
    IsTruncated: page.nextPageToken !== undefined,
  };
}

const prefixesOf = (page: ListPage, write: (key: string) => string) =>
  page.prefixes.map((prefix) => ({ Prefix: write(prefix) }));

export const listObjects: Handler = async (call, services) => {
  const asked = askedOf(call);
  const { write } = asked;
  const marker = call.query.get("marker") ?? "";
  const page = await pageOf(services, call.bucket, asked, { startAfter: marker });
  const more = page.nextPageToken !== undefined;
  return xmlResponse("ListBucketResult", {
    ...described(call, asked, page),
    Marker: write(marker),
    NextMarker: more ? write(lastOf(page)) : undefined,
    Contents: page.objects.map((object) => ({ ...contentOf(object, write), Owner: owner })),
    CommonPrefixes: prefixesOf(page, write),
  });
};

export const listObjectsV2: Handler = async (call, services) => {
  const asked = askedOf(call);
  const { write } = asked;
  const startAfter = call.query.get("start-after");
  const token = call.query.get("continuation-token");
  const page = await pageOf(services, call.bucket, asked, { startAfter, pageToken: token });
  const withOwner = call.query.get("fetch-owner") === "true";
  return xmlResponse("ListBucketResult", {
    ...described(call, asked, page),
    KeyCount: page.objects.length + page.prefixes.length,
    StartAfter: startAfter === undefined ? undefined : write(startAfter),
    ContinuationToken: token,
    NextContinuationToken: page.nextPageToken,
    Contents: page.objects.map((object) => ({
      ...contentOf(object, write),
      Owner: withOwner ? owner : undefined,
    })),
    CommonPrefixes: prefixesOf(page, write),
  });
};

export const listVersions: Handler = async (call, services) => {
  const asked = askedOf(call);
  const { write } = asked;
  const marker = call.query.get("key-marker") ?? "";
  const page = await pageOf(services, call.bucket, asked, { startAfter: marker });
  const more = page.nextPageToken !== undefined;
  return xmlResponse("ListVersionsResult", {
    ...described(call, asked, page),
    KeyMarker: write(marker),
    VersionIdMarker: call.query.get("version-id-marker") ?? "",
    NextKeyMarker: more ? write(lastOf(page)) : undefined,
    NextVersionIdMarker: more ? "null" : undefined,
    Version: page.objects.map((object) => ({
      ...contentOf(object, write),
      VersionId: "null",
      IsLatest: true,
      Owner: owner,
    })),
    CommonPrefixes: prefixesOf(page, write),
  });
};
