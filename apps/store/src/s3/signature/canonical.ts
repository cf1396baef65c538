/**
 * The parts of AWS Signature Version 4 that do not depend on who asks: the
 * canonical form of a request and the arithmetic of keys. S3 signs the path
 * encoded once, with its slashes and dots as they are.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export const algorithm = "AWS4-HMAC-SHA256";

const unreserved = /[A-Za-z0-9._~-]/;

/**
 * Text of a URL in the one encoding that is signed, whichever the client sent.
 * `slash`: a slash stands as it is.
 */
export function encodeUri(sent: string, slash: boolean): string {
  return sent.replace(/%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~-]/g, (match) => {
    const code = match.length === 3 ? Number.parseInt(match.slice(1), 16) : match.charCodeAt(0);
    const letter = String.fromCharCode(code);
    if (unreserved.test(letter) || (slash && letter === "/")) return letter;
    return `%${code.toString(16).toUpperCase().padStart(2, "0")}`;
  });
}

/** Name and value of each parameter of a query, in the encoding that is signed. */
export function signedParameters(query: string): [name: string, value: string][] {
  return query
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const spaced = pair.replaceAll("+", "%20");
      const at = spaced.indexOf("=");
      const [name, value] = at < 0 ? [spaced, ""] : [spaced.slice(0, at), spaced.slice(at + 1)];
      return [encodeUri(name, false), encodeUri(value, false)];
    });
}

export interface CanonicalParts {
  method: string;
  /** As they were sent. */
  path: string;
  query: string;
  headers: Headers;
  signedHeaders: readonly string[];
  /** What stands for the body: its digest, or how it is sent. */
  payload: string;
}

export function canonicalRequest(parts: CanonicalParts): string {
  const query = signedParameters(parts.query)
    .filter(([name]) => name !== "X-Amz-Signature")
    .map((pair) => pair.join("="))
    .toSorted(compareParameters)
    .join("&");
  const headers = parts.signedHeaders.map((name) => {
    const value = parts.headers.get(name) ?? "";
    return `${name}:${value.trim().replaceAll(/ +/g, " ")}\n`;
  });
  return [
    parts.method,
    encodeUri(parts.path, true),
    query,
    headers.join(""),
    parts.signedHeaders.join(";"),
    parts.payload,
  ].join("\n");
}

/** By name, then by value; "=" must not take part in the order. */
function compareParameters(a: string, b: string): number {
  const [left, right] = [a.replace("=", "\0"), b.replace("=", "\0")];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** SHA-256 in hex of text whose letters are bytes. */
export function digestOf(text: string): string {
  return createHash("sha256").update(text, "latin1").digest("hex");
}

function hmac(key: Buffer | string, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

/** The key that a secret signs with, on one day, in one region. */
export function signingKey(secret: string, date: string, region: string): Buffer {
  return hmac(hmac(hmac(hmac(`AWS4${secret}`, date), region), "s3"), "aws4_request");
}

/** A signature in hex of these lines. */
export function sign(key: Buffer, ...lines: string[]): string {
  return hmac(key, lines.join("\n")).toString("hex");
}

/** Compares in a time that does not depend on where they differ. */
export function equalSignatures(one: string, other: string): boolean {
  const [left, right] = [Buffer.from(one), Buffer.from(other)];
  return left.length === right.length && timingSafeEqual(left, right);
}
