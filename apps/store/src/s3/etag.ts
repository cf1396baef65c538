/**
 * ETags as S3 clients read them: one without a dash is an MD5 to them. An
 * object that came by another way has its SHA-256 as its tag; here it is shown
 * with a dash, and known again.
 */
const sha256Tag = /^[0-9a-f]{64}$/;

/** The tag of an object as it is shown, without quotes. */
export function shownTag(etag: string): string {
  return sha256Tag.test(etag) ? `${etag}-1` : etag;
}

/** A tag of a client, with quotes or not, as objects have it. */
export function knownTag(shown: string): string {
  const bare = shown.trim().replace(/^"(.*)"$/, "$1");
  return bare.endsWith("-1") && sha256Tag.test(bare.slice(0, -2)) ? bare.slice(0, -2) : bare;
}

/** A list of tags in a condition, as objects have them. */
export function knownTags(header: string): string {
  return header
    .split(",")
    .map((tag) => tag.trim().replace(/^W\//, ""))
    .map((tag) => (tag === "*" ? tag : `"${knownTag(tag)}"`))
    .join(", ");
}
