/** Conditions of S3's headers, as the rest of the store knows them. */
import { readVerdict, type ReadVerdict } from "../objects/conditions.ts";
import type { StoredObject, WriteCondition } from "../objects/schema.ts";
import { S3Error } from "./errors.ts";
import { knownTag, knownTags } from "./etag.ts";

const names = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] as const;

/** The conditions of a read; `prefix` stands before their names where they are about a source. */
export function readConditions(headers: Headers, prefix = ""): Headers {
  const conditions = new Headers();
  for (const name of names) {
    const value = headers.get(prefix + name);
    if (value !== null) conditions.set(name, name.endsWith("match") ? knownTags(value) : value);
  }
  return conditions;
}

/** Whether an object is to be sent. Errors: `PreconditionFailed`. */
export function checkRead(
  headers: Headers,
  object: StoredObject,
): Exclude<ReadVerdict, "precondition_failed"> {
  const verdict = readVerdict(readConditions(headers), object);
  if (verdict === "precondition_failed") throw preconditionFailed();
  return verdict;
}

/** What must hold for a write. Errors: `NotImplemented` as in S3, where only * may be absent. */
export function writeCondition(headers: Headers): WriteCondition {
  const ifMatch = headers.get("if-match");
  const ifNoneMatch = headers.get("if-none-match");
  if (ifNoneMatch !== null && ifNoneMatch.trim() !== "*") {
    throw new S3Error("NotImplemented", "A write takes only * in If-None-Match.");
  }
  return {
    ifMatch: ifMatch === null ? undefined : knownTag(ifMatch),
    ifAbsent: ifNoneMatch !== null,
  };
}

export function preconditionFailed(): S3Error {
  return new S3Error(
    "PreconditionFailed",
    "At least one of the pre-conditions you specified did not hold",
  );
}
