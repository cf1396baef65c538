/** Buckets over S3, and what S3 asks of a bucket that is the same for all of them here. */
import type { Handler } from "./call.ts";
import { S3Error, type S3Code } from "./errors.ts";
import { checkOffered } from "./attributes.ts";
import { childOf, elementsOf, textOf, xmlResponse, type Fields } from "./xml.ts";

/** Everything belongs to the store. */
export const owner = { ID: "spear", DisplayName: "spear" };

export const listBuckets: Handler = async (call, { buckets }) => {
  const known = (await buckets.list()).filter(({ name }) => call.knows(name));
  return xmlResponse("ListAllMyBucketsResult", {
    Owner: owner,
    Buckets: {
      Bucket: known.map(({ name, createdAtMs }) => ({
        Name: name,
        CreationDate: new Date(createdAtMs).toISOString(),
      })),
    },
  });
};

export const createBucket: Handler = async ({ bucket, headers }, { buckets }) => {
  checkOffered(headers);
  if (headers.get("x-amz-bucket-object-lock-enabled")?.toLowerCase() === "true") {
    throw new S3Error("NotImplemented", "Objects can't be locked; pin them instead.");
  }
  await buckets.create(bucket, false);
  return new Response(null, { headers: { location: `/${bucket}` } });
};

export const headBucket: Handler = async ({ bucket }, { buckets }) => {
  await buckets.get(bucket);
  return new Response(null, { headers: { "x-amz-bucket-region": "us-east-1" } });
};

export const deleteBucket: Handler = async ({ bucket }, { buckets }) => {
  await buckets.remove(bucket);
  return new Response(null, { status: 204 });
};

/** What every bucket answers to a question about its configuration. */
export function sameForAll(root: string, content: Fields | ""): Handler {
  return async ({ bucket }, { buckets }) => {
    await buckets.get(bucket);
    return xmlResponse(root, content);
  };
}

/** The answer for a configuration that no bucket has. */
export function noneHas(code: S3Code, what: string): Handler {
  return async ({ bucket }, { buckets }) => {
    await buckets.get(bucket);
    throw new S3Error(code, `The ${what} does not exist`);
  };
}

const privateAcl = {
  Owner: owner,
  AccessControlList: {
    Grant: {
      Grantee: {
        "@xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
        "@xsi:type": "CanonicalUser",
        ...owner,
      },
      Permission: "FULL_CONTROL",
    },
  },
};

/** Everything is private: access keys say who may do what. */
export const getAcl: Handler = async (call, { buckets, objects }) => {
  if (call.key === "") await buckets.get(call.bucket);
  else await objects.head(call.name);
  return xmlResponse("AccessControlPolicy", privateAcl);
};

/** Takes the ACL that everything has anyway: the owner, and nobody else. */
export const putAcl: Handler = async (call, { buckets, objects }) => {
  checkOffered(call.headers);
  if (call.key === "") await buckets.get(call.bucket);
  else await objects.head(call.name);
  if (call.headers.get("x-amz-acl") !== null) return new Response(null);
  const document = await call.document("AccessControlPolicy");
  const grants = elementsOf(childOf(document, "AccessControlList"), "Grant");
  if (grants.every((grant) => textOf(childOf(grant, "Grantee"), "ID") === owner.ID)) {
    return new Response(null);
  }
  throw new S3Error("AccessControlListNotSupported", "The bucket does not allow ACLs.");
};
