/** What S3 offers, as a table: what a request says of itself → who may, and what is done. */
import {
  createBucket,
  deleteBucket,
  getAcl,
  headBucket,
  listBuckets,
  noneHas,
  putAcl,
  sameForAll,
} from "./buckets.ts";
import { accessDenied, type Handler, type S3Call } from "./call.ts";
import { copyObject, deleteTagging, getTagging, putTagging } from "./copies.ts";
import { S3Error } from "./errors.ts";
import { listObjects, listObjectsV2, listVersions } from "./listing.ts";
import { deleteObject, deleteObjects, getObject, headObject, putObject } from "./objects.ts";
import {
  abortUpload,
  completeUpload,
  copyPart,
  createUpload,
  listParts,
  listUploads,
  uploadPart,
} from "./uploads.ts";

interface Route {
  readonly method: string;
  readonly on: "store" | "bucket" | "object";
  /** Name in the query that asks for it; undefined where none of `questions` is there. */
  readonly asks?: string;
  /** Header or query parameter, as `name` or `name=value`, that it needs besides. */
  readonly header?: string;
  readonly parameter?: string;
  /** What the key must allow; `know`: anything in the bucket; `each`: the handler asks, key by key. */
  readonly needs: "read" | "write" | "list" | "delete" | "know" | "each";
  readonly run: Handler;
}

const get = { method: "GET", on: "bucket", needs: "know" } as const;

const routes: readonly Route[] = [
  { method: "GET", on: "store", needs: "each", run: listBuckets },

  { method: "PUT", on: "bucket", needs: "write", run: createBucket },
  { method: "HEAD", on: "bucket", needs: "know", run: headBucket },
  { method: "DELETE", on: "bucket", needs: "delete", run: deleteBucket },
  { method: "GET", on: "bucket", parameter: "list-type=2", needs: "list", run: listObjectsV2 },
  { method: "GET", on: "bucket", needs: "list", run: listObjects },
  { method: "GET", on: "bucket", asks: "versions", needs: "list", run: listVersions },
  { method: "GET", on: "bucket", asks: "uploads", needs: "list", run: listUploads },
  { method: "POST", on: "bucket", asks: "delete", needs: "each", run: deleteObjects },
  { method: "PUT", on: "bucket", asks: "acl", needs: "write", run: putAcl },

  // Clients ask these of every bucket before they begin.
  { ...get, asks: "location", run: sameForAll("LocationConstraint", "") },
  { ...get, asks: "versioning", run: sameForAll("VersioningConfiguration", "") },
  { ...get, asks: "acl", run: getAcl },
  { ...get, asks: "accelerate", run: sameForAll("AccelerateConfiguration", "") },
  { ...get, asks: "logging", run: sameForAll("BucketLoggingStatus", "") },
  { ...get, asks: "notification", run: sameForAll("NotificationConfiguration", "") },
  {
    ...get,
    asks: "requestPayment",
    run: sameForAll("RequestPaymentConfiguration", { Payer: "BucketOwner" }),
  },
  {
    ...get,
    asks: "ownershipControls",
    run: sameForAll("OwnershipControls", { Rule: { ObjectOwnership: "BucketOwnerEnforced" } }),
  },
  { ...get, asks: "policyStatus", run: sameForAll("PolicyStatus", { IsPublic: false }) },
  { ...get, asks: "cors", run: noneHas("NoSuchCORSConfiguration", "CORS configuration") },
  {
    ...get,
    asks: "encryption",
    run: noneHas("ServerSideEncryptionConfigurationNotFoundError", "encryption configuration"),
  },
  {
    ...get,
    asks: "lifecycle",
    run: noneHas("NoSuchLifecycleConfiguration", "lifecycle configuration"),
  },
  {
    ...get,
    asks: "object-lock",
    run: noneHas("ObjectLockConfigurationNotFoundError", "object lock configuration"),
  },
  { ...get, asks: "policy", run: noneHas("NoSuchBucketPolicy", "bucket policy") },
  {
    ...get,
    asks: "publicAccessBlock",
    run: noneHas("NoSuchPublicAccessBlockConfiguration", "public access block configuration"),
  },
  {
    ...get,
    asks: "replication",
    run: noneHas("ReplicationConfigurationNotFoundError", "replication configuration"),
  },
  { ...get, asks: "tagging", run: noneHas("NoSuchTagSet", "TagSet") },
  { ...get, asks: "website", run: noneHas("NoSuchWebsiteConfiguration", "website configuration") },

  { method: "GET", on: "object", needs: "read", run: getObject },
  { method: "HEAD", on: "object", needs: "read", run: headObject },
  { method: "PUT", on: "object", header: "x-amz-copy-source", needs: "write", run: copyObject },
  { method: "PUT", on: "object", needs: "write", run: putObject },
  { method: "DELETE", on: "object", needs: "delete", run: deleteObject },
  { method: "GET", on: "object", asks: "acl", needs: "read", run: getAcl },
  { method: "PUT", on: "object", asks: "acl", needs: "write", run: putAcl },
  { method: "GET", on: "object", asks: "tagging", needs: "read", run: getTagging },
  { method: "PUT", on: "object", asks: "tagging", needs: "write", run: putTagging },
  { method: "DELETE", on: "object", asks: "tagging", needs: "write", run: deleteTagging },

  { method: "POST", on: "object", asks: "uploads", needs: "write", run: createUpload },
  {
    method: "PUT",
    on: "object",
    asks: "uploadId",
    header: "x-amz-copy-source",
    needs: "write",
    run: copyPart,
  },
  { method: "PUT", on: "object", asks: "uploadId", needs: "write", run: uploadPart },
  { method: "POST", on: "object", asks: "uploadId", needs: "write", run: completeUpload },
  { method: "DELETE", on: "object", asks: "uploadId", needs: "write", run: abortUpload },
  { method: "GET", on: "object", asks: "uploadId", needs: "write", run: listParts },
];

/** Names in a query that make another request of it; one that is not offered must not be taken for less. */
const questions = [
  ...new Set(routes.flatMap(({ asks }) => asks ?? [])),
  "analytics",
  "attributes",
  "intelligent-tiering",
  "inventory",
  "legal-hold",
  "metadataTable",
  "metrics",
  "partNumber",
  "renameObject",
  "restore",
  "retention",
  "select",
  "session",
  "torrent",
];

function routeOf(call: S3Call): Route {
  const { method } = call.request;
  const on = call.bucket === "" ? "store" : call.key === "" ? "bucket" : "object";
  const asked = questions.find((name) => call.query.has(name));
  const found = routes.find(
    (route) =>
      route.method === method &&
      route.on === on &&
      route.asks === asked &&
      (route.header === undefined || call.headers.has(route.header)) &&
      (route.parameter === undefined || holds(call, route.parameter)),
  );
  if (found !== undefined) return found;
  throw new S3Error("NotImplemented", "The request implies functionality that is not implemented.");
}

function holds(call: S3Call, parameter: string): boolean {
  const [name = "", value] = parameter.split("=");
  return call.query.get(name) === value;
}

/** What is to be done, and what it is called. Errors: `NotImplemented`, `AccessDenied`. */
export function handlerOf(call: S3Call): { name: string; run: Handler } {
  const { on, asks, needs, run } = routeOf(call);
  if (needs === "know") {
    if (!call.knows(call.bucket)) throw accessDenied();
  } else if (needs !== "each") {
    call.need(needs, call.bucket, needs === "list" ? (call.query.get("prefix") ?? "") : call.key);
  }
  return { name: asks === undefined ? on : `${on}?${asks}`, run };
}
