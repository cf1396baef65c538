/** Conditions of a read (RFC 9110, section 13.2.2), for every HTTP face of the store. */
import { Fault } from "@spear/shared/fault.ts";
import { parseRangeHeader, type RangeRequest } from "./range.ts";
import type { StoredObject } from "./schema.ts";

export type ReadVerdict = "send" | "not_modified" | "precondition_failed";

/** True if a list of entity tags has this one, or is `*`. Weak tags compare as strong ones do. */
export function etagMatches(header: string, etag: string): boolean {
  return (
    header.trim() === "*" ||
    header.split(",").some(
      (one) =>
        one
          .trim()
          .replace(/^W\//, "")
          .replace(/^"(.*)"$/, "$1") === etag,
    )
  );
}

const seconds = (ms: number) => Math.floor(ms / 1_000);

function before(header: string | null): number | undefined {
  const at = Date.parse(header ?? "");
  return Number.isNaN(at) ? undefined : seconds(at);
}

export function readVerdict(headers: Headers, object: StoredObject): ReadVerdict {
  const ifMatch = headers.get("if-match");
  const ifNoneMatch = headers.get("if-none-match");
  const changed = seconds(object.createdAtMs);
  if (ifMatch !== null) {
    if (!etagMatches(ifMatch, object.etag)) return "precondition_failed";
  } else {
    const unmodified = before(headers.get("if-unmodified-since"));
    if (unmodified !== undefined && changed > unmodified) return "precondition_failed";
  }
  if (ifNoneMatch !== null) {
    if (etagMatches(ifNoneMatch, object.etag)) return "not_modified";
  } else {
    const modified = before(headers.get("if-modified-since"));
    if (modified !== undefined && changed <= modified) return "not_modified";
  }
  return "send";
}

/**
 * The range that a read asks for, if it is of this version; undefined for the
 * whole object. Errors: `range_not_satisfiable` for any range of no bytes.
 */
export function rangeAsked(headers: Headers, object: StoredObject): RangeRequest | undefined {
  const asked = parseRangeHeader(headers.get("range"));
  if (asked === undefined || !rangeHolds(headers, object)) return undefined;
  if (object.sizeBytes > 0) return asked;
  throw new Fault("range_not_satisfiable", "the object has 0 bytes", { field: "range" });
}

/** False if an If-Range header says that the range is of another version. */
function rangeHolds(headers: Headers, object: StoredObject): boolean {
  const header = headers.get("if-range");
  if (header === null) return true;
  if (header.startsWith('"')) return etagMatches(header, object.etag);
  const at = before(header);
  return at !== undefined && seconds(object.createdAtMs) <= at;
}
