/**
 * Verifies AWS Signature Version 4, in the Authorization header or in a
 * presigned URL (S1). Reading says who claims to ask; only checking, with that
 * key's secret, says that it is true.
 */
import type { RequestHead } from "../../http/listener.ts";
import { S3Error } from "../errors.ts";
import {
  algorithm,
  canonicalRequest,
  digestOf,
  equalSignatures,
  sign,
  signedParameters,
  signingKey,
} from "./canonical.ts";

/** Most by which the clock of a client may differ from ours. */
const maxSkewMs = 15 * 60_000;
const maxExpirySeconds = 7 * 86_400;
const unsignedPayload = "UNSIGNED-PAYLOAD";

/** What a request says of its signer. */
export interface Claim {
  readonly accessKeyId: string;
  /** Day, as 20130524. */
  readonly date: string;
  readonly region: string;
  /** Time of signing, as 20130524T000000Z. */
  readonly time: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  /** What stands for the body: its SHA-256, or how it is sent. */
  readonly payload: string;
  /** How long a presigned URL holds; undefined for a signature in the header. */
  readonly expirySeconds: number | undefined;
}

/** What chunks of the body are signed with, each on the signature before it. */
export interface ChunkSigner {
  readonly key: Buffer;
  readonly time: string;
  readonly scope: string;
  readonly seed: string;
}

/** True if a request is signed in some way that belongs to S3. */
export function isSigned({ headers, query }: Pick<RequestHead, "headers" | "query">): boolean {
  return (
    headers.get("authorization")?.startsWith("AWS") === true ||
    /(?:^|&)(?:X-Amz-(?:Algorithm|Credential|Signature)|AWSAccessKeyId)=/.test(query)
  );
}

/** Who claims to ask; throws `AccessDenied` if nobody does, and what is wrong with the claim. */
export function readClaim(head: RequestHead): Claim {
  const authorization = head.headers.get("authorization");
  if (authorization !== null) return headerClaim(authorization, head.headers);
  const query = new Map(
    signedParameters(head.query).map(([name, value]) => [name, decodeURIComponent(value)]),
  );
  if (query.has("X-Amz-Signature") || query.has("X-Amz-Algorithm")) {
    return queryClaim(query, head.headers);
  }
  if (isSigned(head)) throw oldVersion();
  throw new S3Error("AccessDenied", "Anonymous requests are refused; sign with an access key.");
}

function oldVersion(): S3Error {
  return new S3Error("InvalidRequest", `Please use ${algorithm} (signature version 4).`);
}

function headerClaim(authorization: string, headers: Headers): Claim {
  if (!authorization.startsWith(`${algorithm} `)) throw oldVersion();
  const malformed = (what: string) => new S3Error("AuthorizationHeaderMalformed", what);
  const fields = new Map(
    authorization
      .slice(algorithm.length)
      .split(",")
      .map((field) => {
        const at = field.indexOf("=");
        return [field.slice(0, at).trim(), field.slice(at + 1).trim()];
      }),
  );
  const payload = headers.get("x-amz-content-sha256");
  if (payload === null) {
    throw new S3Error(
      "InvalidRequest",
      "Missing required header for this request: x-amz-content-sha256",
    );
  }
  const time = headers.get("x-amz-date") ?? timeOfDate(headers.get("date"));
  if (time === undefined) {
    throw new S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date.");
  }
  return {
    ...credentialOf(fields.get("Credential") ?? "", malformed),
    time,
    signedHeaders: signedHeadersOf(fields.get("SignedHeaders") ?? "", malformed),
    signature: signatureOf(fields.get("Signature") ?? "", malformed),
    payload,
    expirySeconds: undefined,
  };
}

function queryClaim(query: ReadonlyMap<string, string>, headers: Headers): Claim {
  const malformed = (what: string) => new S3Error("AuthorizationQueryParametersError", what);
  if (query.get("X-Amz-Algorithm") !== algorithm) {
    throw malformed(`X-Amz-Algorithm only supports "${algorithm}"`);
  }
  const expires = query.get("X-Amz-Expires") ?? "";
  if (!/^\d{1,6}$/.test(expires) || Number(expires) < 1 || Number(expires) > maxExpirySeconds) {
    throw malformed(`X-Amz-Expires must be a number of seconds from 1 to ${maxExpirySeconds}`);
  }
  return {
    ...credentialOf(query.get("X-Amz-Credential") ?? "", malformed),
    time: query.get("X-Amz-Date") ?? "",
    signedHeaders: signedHeadersOf(query.get("X-Amz-SignedHeaders") ?? "", malformed),
    signature: signatureOf(query.get("X-Amz-Signature") ?? "", malformed),
    payload:
      headers.get("x-amz-content-sha256") ?? query.get("X-Amz-Content-Sha256") ?? unsignedPayload,
    expirySeconds: Number(expires),
  };
}

type Malformed = (what: string) => S3Error;

function credentialOf(
  text: string,
  malformed: Malformed,
): Pick<Claim, "accessKeyId" | "date" | "region"> {
  const [, accessKeyId = "", date = "", region = ""] =
    /^([^/]{1,128})\/(\d{8})\/([\w-]{1,64})\/s3\/aws4_request$/.exec(text) ?? [];
  if (accessKeyId !== "") return { accessKeyId, date, region };
  throw malformed("The credential must be KEY/YYYYMMDD/REGION/s3/aws4_request.");
}

function signedHeadersOf(text: string, malformed: Malformed): string[] {
  const names = text.split(";");
  const sorted = names.every((name, at) => at === 0 || (names[at - 1] ?? "") < name);
  if (!sorted || !names.every((name) => /^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/.test(name))) {
    throw malformed("The signed headers must be lower-case names in their order.");
  }
  if (!names.includes("host")) throw malformed("The host header must be signed.");
  return names;
}

function signatureOf(text: string, malformed: Malformed): string {
  if (/^[0-9a-f]{64}$/.test(text)) return text;
  throw malformed("The signature must be 64 lower-case hex digits.");
}

/** 20130524T000000Z of an HTTP date. */
function timeOfDate(date: string | null): string | undefined {
  const ms = Date.parse(date ?? "");
  if (Number.isNaN(ms)) return undefined;
  return `${new Date(ms).toISOString().slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
}

function msOfTime(time: string): number {
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(time) ?? [];
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

/**
 * Proves a claim with the secret of its key. Errors: `SignatureDoesNotMatch`,
 * `RequestTimeTooSkewed`, `AccessDenied` for a URL that is no longer or not yet valid
 * and for headers of S3 that were not signed.
 */
export function checkClaim(
  head: RequestHead,
  claim: Claim,
  secret: string,
  nowMs: number,
): ChunkSigner {
  const { date, region, time, signature } = claim;
  const scope = `${date}/${region}/s3/aws4_request`;
  const key = signingKey(secret, date, region);
  const wanted = sign(
    key,
    algorithm,
    time,
    scope,
    digestOf(canonicalRequest({ ...head, ...claim })),
  );
  // The date is part of the scope: with another one the key would be another.
  if (!equalSignatures(wanted, signature) || !time.startsWith(`${date}T`)) {
    throw new S3Error(
      "SignatureDoesNotMatch",
      "The request signature we calculated does not match the signature you provided. " +
        "Check your key and signing method.",
    );
  }
  checkTime(claim, nowMs);
  for (const name of head.headers.keys()) {
    if (!name.startsWith("x-amz-") || claim.signedHeaders.includes(name)) continue;
    throw new S3Error(
      "AccessDenied",
      `There were headers present in the request which were not signed: ${name}`,
    );
  }
  return { key, time, scope, seed: signature };
}

function checkTime({ time, expirySeconds }: Claim, nowMs: number): void {
  const signedMs = msOfTime(time);
  const presigned = expirySeconds !== undefined;
  if (Number.isNaN(signedMs) || signedMs > nowMs + maxSkewMs) {
    throw presigned ? new S3Error("AccessDenied", "Request is not valid yet") : tooSkewed();
  }
  if (presigned ? nowMs > signedMs + expirySeconds * 1_000 : nowMs > signedMs + maxSkewMs) {
    throw presigned ? new S3Error("AccessDenied", "Request has expired") : tooSkewed();
  }
}

function tooSkewed(): S3Error {
  return new S3Error(
    "RequestTimeTooSkewed",
    "The difference between the request time and the server's time is too large.",
  );
}
