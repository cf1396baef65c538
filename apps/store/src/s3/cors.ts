/** Cross-origin requests from browsers: one list of origins for the whole store. */
import { S3Error } from "./errors.ts";

const methods = "GET, HEAD, PUT, POST, DELETE";
const exposed =
  "etag, content-length, content-range, last-modified, x-amz-request-id, x-amz-tagging-count, x-spear-object-id";

/** Headers for an origin that may call; none for any other. */
export function corsHeaders(headers: Headers, origins: readonly string[]): Record<string, string> {
  const origin = headers.get("origin");
  if (origin === null || origins.length === 0) return {};
  if (!origins.includes("*") && !origins.includes(origin)) return { vary: "origin" };
  return {
    "access-control-allow-origin": origins.includes("*") ? "*" : origin,
    "access-control-expose-headers": exposed,
    vary: "origin",
  };
}

/** The answer to a browser that asks before it sends. Errors: `AccessForbidden`. */
export function preflight(headers: Headers, origins: readonly string[]): Response {
  const allowed = corsHeaders(headers, origins);
  if (
    headers.get("access-control-request-method") === null ||
    allowed["access-control-allow-origin"] === undefined
  ) {
    throw new S3Error("AccessForbidden", "CORSResponse: This CORS request is not allowed.");
  }
  return new Response(null, {
    headers: {
      ...allowed,
      "access-control-allow-methods": methods,
      "access-control-allow-headers": headers.get("access-control-request-headers") ?? "*",
      "access-control-max-age": "600",
    },
  });
}
