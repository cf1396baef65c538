/**
 * The S3 face of the store: tells its requests from those of REST, proves who
 * asks (S1), hands over to the table of routes, answers errors in XML.
 */
import { randomBytes } from "node:crypto";
import { rawOf, type Face, type RequestHead } from "../http/listener.ts";
import { accessDenied, S3Call, type S3Services, type Target } from "./call.ts";
import { corsHeaders, preflight } from "./cors.ts";
import { S3Error } from "./errors.ts";
import { Payload } from "./payload.ts";
import { handlerOf } from "./routes.ts";
import { signedParameters } from "./signature/canonical.ts";
import { checkClaim, isSigned, readClaim } from "./signature/signature.ts";
import { xmlResponse } from "./xml.ts";

/** Paths of REST that could be names of buckets. A signed request means the bucket. */
const ownPaths = /^\/(?:healthz|readyz|metrics|docs|openapi\.json)(?:\/|$)/;
const bucketPath = /^\/[a-z0-9][a-z0-9.-]{2,}/;

/** The bucket that the host's name holds; undefined if it is none of that kind. */
function bucketOfHost(headers: Headers, domain: string): string | undefined {
  if (domain === "") return undefined;
  const host = (headers.get("host") ?? "").replace(/:\d+$/, "").toLowerCase();
  return host.endsWith(`.${domain}`) ? host.slice(0, -domain.length - 1) : undefined;
}

/** The bucket and key that a request names, as exactly the bytes that were sent. Errors: `InvalidURI`. */
function targetOf(path: string, hostBucket: string | undefined): Target {
  const full = hostBucket === undefined ? path.slice(1) : `${hostBucket}/${path.slice(1)}`;
  const at = full.indexOf("/");
  try {
    return {
      bucket: decodeURIComponent(at < 0 ? full : full.slice(0, at)),
      key: at < 0 ? "" : decodeURIComponent(full.slice(at + 1)),
    };
  } catch {
    throw new S3Error("InvalidURI", "Couldn't parse the specified URI.");
  }
}

function queryOf(query: string): ReadonlyMap<string, string> {
  try {
    return new Map(
      signedParameters(query).map(([name, value]) => [
        decodeURIComponent(name),
        decodeURIComponent(value),
      ]),
    );
  } catch {
    throw new S3Error("InvalidURI", "Couldn't parse the specified URI.");
  }
}

/** True for a request that is S3's, and not REST's. */
export function isS3({ method, path, query, headers }: RequestHead, domain: string): boolean {
  if (bucketOfHost(headers, domain) !== undefined) return true;
  // No bucket has so short a name.
  if (path.startsWith("/v1/")) return false;
  if (isSigned({ headers, query })) return true;
  if (ownPaths.test(path)) return false;
  return bucketPath.test(path) || (path === "/" && method === "OPTIONS");
}

export function s3Face(services: S3Services): Face {
  const { log, metrics, corsOrigins } = services;
  const fail = (error: unknown, path: string, headers: Record<string, string>) => {
    const failure = S3Error.from(error);
    if (failure.code === "InternalError") {
      log.error({ err: failure.cause ?? failure }, "internal error");
    }
    const content = {
      Code: failure.code,
      Message: failure.message,
      Resource: path,
      RequestId: headers["x-amz-request-id"] ?? "",
    };
    return xmlResponse("Error", content, { status: failure.status, headers });
  };
  return {
    streams: () => true,
    failure: (error) => fail(error, "", {}),
    handle: async (request) => {
      const began = performance.now();
      const headers = {
        "x-amz-request-id": randomBytes(8).toString("hex").toUpperCase(),
        ...corsHeaders(request.headers, corsOrigins),
      };
      // Nothing that a client makes up becomes a name of a metric.
      let route = "refused";
      let response: Response;
      try {
        const { name, answer } = await routed(request, services);
        route = name;
        response = await answer();
        for (const [header, value] of Object.entries(headers)) response.headers.set(header, value);
      } catch (error) {
        response = fail(error, rawOf(request).path, headers);
      }
      const seconds = (performance.now() - began) / 1_000;
      metrics.onRequest(request.method, `s3 ${route}`, response.status, seconds);
      return response;
    },
  };
}

/** What a request is, once it is known who asks and that they may. */
async function routed(
  request: Request,
  services: S3Services,
): Promise<{ name: string; answer: () => Promise<Response> }> {
  const { path, query, body, signal } = rawOf(request);
  const { headers, method } = request;
  if (method === "OPTIONS") {
    return { name: "preflight", answer: async () => preflight(headers, services.corsOrigins) };
  }
  const head = { method, path, query, headers };
  const claim = readClaim(head);
  const key = await services.accessKeys.find(claim.accessKeyId);
  if (key === undefined) {
    throw new S3Error(
      "InvalidAccessKeyId",
      "The access key id you provided does not exist in our records.",
    );
  }
  const signer = checkClaim(head, claim, key.secret, services.clock.nowMs());
  const call = new S3Call({
    ...targetOf(path, bucketOfHost(headers, services.domain)),
    request,
    query: queryOf(query),
    grants: key.grants,
    payload: new Payload({ headers, body, payload: claim.payload, signer }),
    signal,
  });
  if (call.bucket === "" && call.key !== "") throw accessDenied();
  const { name, run } = handlerOf(call);
  return { name, answer: () => run(call, services) };
}
