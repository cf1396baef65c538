/**
 * The body of a request: taken out of its chunks, and held to everything that
 * the client said of it. What is wrong throws at the end of the bytes, before
 * anything is committed (O1).
 */
import { createHash } from "node:crypto";
import type { Body } from "../chunks/chunks.ts";
import { announcedChecksum } from "./checksums.ts";
import { S3Error } from "./errors.ts";
import { decodeChunked } from "./signature/chunked.ts";
import type { ChunkSigner } from "./signature/signature.ts";

const streamed = "STREAMING-";
/** How a body may be sent in chunks: signed or not, with trailers or not. */
const chunkings: Readonly<Record<string, { signed: boolean; trailers: boolean }>> = {
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": { signed: true, trailers: false },
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": { signed: true, trailers: true },
  "STREAMING-UNSIGNED-PAYLOAD-TRAILER": { signed: false, trailers: true },
};

export interface PayloadSource {
  headers: Headers;
  body: Body;
  /** What the signature says of the body. */
  payload: string;
  signer: ChunkSigner;
}

export class Payload {
  /** SHA-256 that the body must have, in hex; whoever consumes the bytes checks it. */
  readonly sha256: string | undefined;
  readonly #source: PayloadSource;
  readonly #chunking: { signed: boolean; trailers: boolean } | undefined;
  readonly #md5 = createHash("md5");
  readonly #checksum: ReturnType<typeof announcedChecksum>;
  #md5Hex = "";
  #confirmed: Record<string, string> = {};

  /** Errors: `InvalidArgument` and `InvalidRequest` for what can't be said of a body. */
  constructor(source: PayloadSource) {
    const { payload, headers } = source;
    this.#source = source;
    this.#chunking = chunkings[payload];
    if (payload.startsWith(streamed) && this.#chunking === undefined) {
      throw new S3Error("NotImplemented", `Bodies are not taken as ${payload}.`);
    }
    if (/^[0-9a-f]{64}$/.test(payload)) this.sha256 = payload;
    else if (this.#chunking === undefined && payload !== "UNSIGNED-PAYLOAD") {
      throw new S3Error(
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-… or a SHA-256 in hex.",
      );
    }
    this.#checksum = announcedChecksum(headers);
  }

  /** The size that the client announced. Errors: `MissingContentLength`. */
  get sizeBytes(): number {
    const name = this.#chunking === undefined ? "content-length" : "x-amz-decoded-content-length";
    const length = this.#source.headers.get(name) ?? "";
    if (/^\d{1,15}$/.test(length)) return Number(length);
    throw new S3Error("MissingContentLength", `You must provide the ${name} HTTP header.`);
  }

  /** MD5 of the bytes in hex, once they were read. */
  get md5(): string {
    return this.#md5Hex;
  }

  /** Headers that repeat the checksum that was verified. */
  get confirmed(): Record<string, string> {
    return this.#confirmed;
  }

  /** The bytes, once. Errors: `BadDigest`, and what is wrong with the chunks. */
  async *bytes(): AsyncGenerator<Uint8Array> {
    const wantedMd5 = this.#contentMd5();
    const trailers = this.#chunking?.trailers === true ? new Map<string, string>() : undefined;
    const body =
      this.#chunking === undefined
        ? this.#source.body
        : decodeChunked(this.#source.body, {
            signer: this.#chunking.signed ? this.#source.signer : undefined,
            trailers,
          });
    for await (const piece of body) {
      this.#md5.update(piece);
      this.#checksum?.running.update(piece);
      yield piece;
    }
    this.#md5Hex = this.#md5.digest("hex");
    if (wantedMd5 !== undefined && wantedMd5 !== this.#md5Hex) throw badDigest("Content-MD5");
    await this.#confirm(trailers);
  }

  #contentMd5(): string | undefined {
    const header = this.#source.headers.get("content-md5");
    if (header === null) return undefined;
    const bytes = Buffer.from(header, "base64");
    if (bytes.length === 16) return bytes.toString("hex");
    throw new S3Error("InvalidDigest", "The Content-MD5 you specified is not valid.");
  }

  async #confirm(trailers: ReadonlyMap<string, string> | undefined): Promise<void> {
    if (this.#checksum === undefined) return;
    const { header, running, expected } = this.#checksum;
    const wanted = expected ?? trailers?.get(header);
    if (wanted === undefined) {
      throw new S3Error(
        "MalformedTrailerError",
        `The trailer ${header} was announced and not sent.`,
      );
    }
    const actual = await running.digest();
    if (actual !== wanted) throw badDigest(header);
    this.#confirmed = { [header]: actual };
  }
}

function badDigest(header: string): S3Error {
  return new S3Error("BadDigest", `The ${header} you specified did not match what we received.`);
}
