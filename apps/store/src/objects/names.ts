/**
 * Names of buckets and keys of objects. A key is served as exactly the bytes
 * that were put, so one that some client or proxy on the way might rewrite
 * ('.' and '..' as path parts, NUL) is refused at the put. Bytes that are no UTF-8
 * never get here: each transport refuses them, as it knows what was sent.
 */
import { Fault } from "@spear/shared/fault.ts";

export const maxKeyBytes = 1_024;
const bucketPattern = /^[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]$/;

/** `value`, if it can name a bucket. Errors: `invalid_argument`. */
export function checkBucketName(value: string, field = "bucket"): string {
  if (bucketPattern.test(value) && !value.includes("..")) return value;
  throw new Fault("invalid_argument", `${field}: not a bucket name`, {
    field,
    help: "3–63 of lower-case letters, digits, '.' and '-'; a letter or digit at both ends",
  });
}

/** What is wrong with a key, or undefined. */
function complaint(key: string): string | undefined {
  if (key === "") return "is empty";
  if (!key.isWellFormed()) return "is not valid UTF-8";
  if (Buffer.byteLength(key) > maxKeyBytes) return `is longer than ${maxKeyBytes} bytes`;
  if (key.includes("\0")) return "has a NUL byte";
  if (key.split("/").some((part) => part === "." || part === "..")) {
    return "has '.' or '..' as a path part";
  }
  return undefined;
}

/** `value`, if it can be the key of an object. Errors: `invalid_argument`. */
export function checkKey(value: string, field = "key"): string {
  const wrong = complaint(value);
  if (wrong === undefined) return value;
  throw new Fault("invalid_argument", `${field}: ${wrong}`, {
    field,
    help: "a key is 1–1,024 bytes of UTF-8 without NUL and without '.' or '..' as a path part",
  });
}

/** A prefix, delimiter or start of a listing: part of a key, so no more than its bytes are checked. */
export function checkKeyPart(value: string, field: string): string {
  if (value.isWellFormed() && !value.includes("\0") && Buffer.byteLength(value) <= maxKeyBytes) {
    return value;
  }
  throw new Fault("invalid_argument", `${field}: must be UTF-8 without NUL, up to 1,024 bytes`, {
    field,
  });
}
