/** Clients of the S3 face for tests: AWS's own, and requests byte by byte. */
import { createHash } from "node:crypto";
import { S3Client, S3ServiceException } from "@aws-sdk/client-s3";
import {
  algorithm,
  canonicalRequest,
  digestOf,
  sign,
  signingKey,
} from "@spear/store/s3/signature/canonical.ts";
import { rawHttp } from "../store.ts";

export interface Credentials {
  id: string;
  secret: string;
}

/** AWS's client for a store at `url`. */
export function s3Client(url: string, { id, secret }: Credentials): S3Client {
  return new S3Client({
    endpoint: url,
    region: "us-east-1",
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: id, secretAccessKey: secret },
  });
}

/** The code that a call fails with, its status where it has none, or "ok". */
export async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (error) {
    if (!(error instanceof S3ServiceException)) throw error;
    return error.name === "Unknown" ? String(error.$metadata.httpStatusCode) : error.name;
  }
}

export interface RawCall {
  method?: string;
  /** As they are to be sent. */
  path: string;
  query?: string;
  headers?: Record<string, string>;
  body?: string;
  /** What the signature says of the body. Default: the truth. */
  payload?: string;
  /** Whether the connection is broken once the request was sent. */
  hangUp?: boolean;
}

/** Signs and sends a request as it is, and resolves with the whole answer as text. */
export function rawS3(address: string, key: Credentials, call: RawCall): Promise<string> {
  const { method = "GET", path, query = "", body = "" } = call;
  const time = `${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
  const payload = call.payload ?? createHash("sha256").update(body, "latin1").digest("hex");
  const headers = new Headers({
    host: address,
    "x-amz-date": time,
    "x-amz-content-sha256": payload,
    "content-length": String(body.length),
    ...call.headers,
  });
  const signedHeaders = [...headers.keys()].toSorted();
  const scope = `${time.slice(0, 8)}/eu-west-1/s3/aws4_request`;
  const canonical = canonicalRequest({ method, path, query, headers, signedHeaders, payload });
  const secret = signingKey(key.secret, time.slice(0, 8), "eu-west-1");
  const signature = sign(secret, algorithm, time, scope, digestOf(canonical));
  headers.set(
    "authorization",
    `${algorithm} Credential=${key.id}/${scope}, SignedHeaders=${signedHeaders.join(";")}, Signature=${signature}`,
  );
  headers.set("connection", "close");
  const lines = [...headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const target = query === "" ? path : `${path}?${query}`;
  return rawHttp(address, `${method} ${target} HTTP/1.1\r\n${lines}\r\n${body}`, call.hangUp);
}
