/**
 * What clients say of an object beside its bytes: its media type, their own
 * metadata, the headers that every answer with the bytes carries, and tags.
 */
import { Fault } from "@spear/shared/fault.ts";

export const defaultContentType = "application/octet-stream";

/** Headers that travel with an object. */
export const contentHeaders = [
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "expires",
] as const;

export interface Attributes {
  readonly contentType: string;
  /** Names are lower-case tokens. */
  readonly metadata: Record<string, string>;
  /** By their names in `contentHeaders`. */
  readonly headers: Record<string, string>;
  readonly tags: Record<string, string>;
}

/** What a client gives of them; the rest is empty. */
export type GivenAttributes = { readonly [K in keyof Attributes]?: Attributes[K] | undefined };

const metadataName = /^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/;
const printable = /^[\x20-\x7e]*$/;
const maxMetadataBytes = 8 << 10;
const maxHeaderBytes = 1 << 10;
const maxTags = 10;
const tagName = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}$/u;
const tagValue = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}$/u;

/** The attributes of an object to be. Errors: `invalid_argument` naming which can't be. */
export function attributesOf(given: GivenAttributes): Attributes {
  const attributes = {
    contentType: given.contentType || defaultContentType,
    metadata: given.metadata ?? {},
    headers: given.headers ?? {},
    tags: given.tags ?? {},
  };
  checkContentType(attributes.contentType);
  checkMetadata(attributes.metadata);
  checkHeaders(attributes.headers);
  checkTags(attributes.tags);
  return attributes;
}

function checkContentType(contentType: string): void {
  if (contentType.length <= 255 && printable.test(contentType)) return;
  throw new Fault("invalid_argument", "contentType: must be up to 255 printable ASCII letters", {
    field: "contentType",
  });
}

function checkMetadata(metadata: Record<string, string>): void {
  let bytes = 0;
  for (const [name, value] of Object.entries(metadata)) {
    bytes += name.length + value.length;
    if (metadataName.test(name) && printable.test(value) && value.trim() === value) continue;
    throw new Fault("invalid_argument", `metadata.${name}: can't travel in a header`, {
      field: "metadata",
      help: "names are lower-case tokens, values printable ASCII; encode anything else",
    });
  }
  if (bytes > maxMetadataBytes) {
    throw new Fault("invalid_argument", `metadata: more than ${maxMetadataBytes} bytes`, {
      field: "metadata",
    });
  }
}

function checkHeaders(headers: Record<string, string>): void {
  for (const [name, value] of Object.entries(headers)) {
    if (
      (contentHeaders as readonly string[]).includes(name) &&
      value.length <= maxHeaderBytes &&
      printable.test(value)
    ) {
      continue;
    }
    throw new Fault("invalid_argument", `headers.${name}: can't travel with an object`, {
      field: "headers",
      help: `${contentHeaders.join(", ")} can, in up to ${maxHeaderBytes} printable ASCII letters`,
    });
  }
}

function checkTags(tags: Record<string, string>): void {
  const all = Object.entries(tags);
  if (all.length > maxTags) {
    throw new Fault("invalid_argument", `tags: at most ${maxTags}`, { field: "tags" });
  }
  for (const [name, value] of all) {
    if (tagName.test(name) && tagValue.test(value)) continue;
    throw new Fault("invalid_argument", `tags: "${name}" or its value is none`, {
      field: "tags",
      help: "1–128 and 0–256 letters, digits, spaces and _ . : / = + - @",
    });
  }
}
