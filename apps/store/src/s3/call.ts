/** A request of S3 as its handlers see it: what it names, who asks, what it carries. */
import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import type { Clock } from "@spear/shared/clock.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Metrics } from "@spear/shared/metrics.ts";
import { allows, mayKnow } from "../access/grants.ts";
import type { AccessKeys } from "../access/keys.ts";
import type { Action, Grant } from "../access/schema.ts";
import type { Buckets } from "../buckets/buckets.ts";
import type { Objects } from "../objects/objects.ts";
import type { ObjectName } from "../objects/schema.ts";
import type { Uploads } from "../uploads/uploads.ts";
import { S3Error } from "./errors.ts";
import type { Payload } from "./payload.ts";
import { malformedXml, parseXml, type Element } from "./xml.ts";

/** Largest document that is taken, in bytes: a thousand keys, or ten thousand parts. */
const maxDocumentBytes = 4 << 20;

export interface S3Services {
  readonly objects: Objects;
  readonly buckets: Buckets;
  readonly uploads: Uploads;
  readonly accessKeys: AccessKeys;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Domain below which a bucket may stand in the host's name; empty: none. */
  readonly domain: string;
  /** Origins whose scripts may call, or `*`. */
  readonly corsOrigins: readonly string[];
}

/** What a request names: nothing, a bucket, or an object. */
export interface Target {
  readonly bucket: string;
  readonly key: string;
}

export interface CallParts extends Target {
  request: Request;
  query: ReadonlyMap<string, string>;
  grants: readonly Grant[];
  payload: Payload;
  signal: AbortSignal;
}

export class S3Call {
  readonly request: Request;
  readonly bucket: string;
  readonly key: string;
  readonly query: ReadonlyMap<string, string>;
  readonly payload: Payload;
  /** Aborts when the client went away. */
  readonly signal: AbortSignal;
  readonly #grants: readonly Grant[];

  constructor(parts: CallParts) {
    this.request = parts.request;
    this.bucket = parts.bucket;
    this.key = parts.key;
    this.query = parts.query;
    this.payload = parts.payload;
    this.signal = parts.signal;
    this.#grants = parts.grants;
  }

  get headers(): Headers {
    return this.request.headers;
  }

  get name(): ObjectName {
    return { bucket: this.bucket, key: this.key };
  }

  may(action: Action, bucket: string, keyOrPrefix: string): boolean {
    return allows(this.#grants, action, bucket, keyOrPrefix);
  }

  knows(bucket: string): boolean {
    return mayKnow(this.#grants, bucket);
  }

  /** Errors: `AccessDenied`. */
  need(action: Action, bucket: string, keyOrPrefix: string): void {
    if (!this.may(action, bucket, keyOrPrefix)) throw accessDenied();
  }

  /** A number of the query, no more than `most`. Errors: `InvalidArgument`. */
  count(name: string, most: number): number {
    const text = this.query.get(name);
    if (text === undefined || text === "") return most;
    if (/^\d{1,9}$/.test(text)) return Math.min(Number(text), most);
    throw new S3Error("InvalidArgument", `${name} must be a number that is not negative.`);
  }

  /** The document that the request carries. Errors: `MalformedXML`, and what is wrong with the body. */
  async document(root: string): Promise<Element> {
    const pieces: Uint8Array[] = [];
    const sha256 = createHash("sha256");
    let total = 0;
    for await (const piece of this.payload.bytes()) {
      total += piece.byteLength;
      if (total > maxDocumentBytes) {
        throw new S3Error("MaxMessageLengthExceeded", "Your request was too big.");
      }
      sha256.update(piece);
      pieces.push(piece);
    }
    const { sha256: wanted } = this.payload;
    if (wanted !== undefined && wanted !== sha256.digest("hex")) {
      throw new S3Error(
        "XAmzContentSHA256Mismatch",
        "The provided x-amz-content-sha256 does not match what was computed.",
      );
    }
    const bytes = Buffer.concat(pieces);
    // Decoded all the same, what is no UTF-8 would name another key than was meant.
    if (!isUtf8(bytes)) throw malformedXml();
    return parseXml(bytes.toString(), root);
  }
}

export type Handler = (call: S3Call, services: S3Services) => Promise<Response>;

export function accessDenied(): S3Error {
  return new S3Error("AccessDenied", "Access Denied");
}
