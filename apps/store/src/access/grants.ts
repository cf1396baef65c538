/** What an access key allows. Nothing is allowed that no grant names (S1). */
import type { Action, Grant } from "./schema.ts";

const covers = (grant: Grant, bucket: string) => grant.bucket === "*" || grant.bucket === bucket;

/**
 * True if an action is allowed on a key, on all keys with a prefix, or, with "",
 * on the bucket as a whole.
 */
export function allows(
  grants: readonly Grant[],
  action: Action,
  bucket: string,
  keyOrPrefix: string,
): boolean {
  return grants.some(
    (grant) =>
      covers(grant, bucket) &&
      grant.actions.includes(action) &&
      keyOrPrefix.startsWith(grant.prefix ?? ""),
  );
}

/** True if a bucket's existence is no secret to the key. */
export function mayKnow(grants: readonly Grant[], bucket: string): boolean {
  return grants.some((grant) => covers(grant, bucket));
}
