/**
 * Bodies in AWS's own chunks ("aws-chunked"), each signed on the signature
 * before it or not at all, with trailers behind them. Bytes are handed on before
 * their signature was checked: nothing is committed before the body has ended
 * well. Memory does not depend on the size of a chunk.
 */
import { createHash } from "node:crypto";
import type { Body } from "../../chunks/chunks.ts";
import { S3Error } from "../errors.ts";
import { algorithm, digestOf, equalSignatures, sign } from "./canonical.ts";
import type { ChunkSigner } from "./signature.ts";

const maxLineBytes = 1 << 10;
const maxTrailers = 16;
const emptyDigest = digestOf("");
const chunkHead = /^([0-9A-Fa-f]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?$/;
const trailerSignature = "x-amz-trailer-signature";

export interface ChunkedOptions {
  /** Undefined where chunks are not signed. */
  signer: ChunkSigner | undefined;
  /** Filled with what stands behind the last chunk; undefined where nothing may. */
  trailers: Map<string, string> | undefined;
}

/** A body's pieces, to be taken by line and by count. */
class Pieces {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(body: Body) {
    this.#pieces = body[Symbol.asyncIterator]();
  }

  async #next(): Promise<boolean> {
    while (this.#rest.byteLength === 0) {
      const next = await this.#pieces.next();
      if (next.done === true) return false;
      this.#rest = next.value;
    }
    return true;
  }

  /** A line without its end; undefined at the end of the body. */
  async line(): Promise<string | undefined> {
    let line = "";
    while (await this.#next()) {
      const end = this.#rest.indexOf(0x0a);
      const taken = end < 0 ? this.#rest.byteLength : end;
      if (line.length + taken > maxLineBytes) throw malformed("a line is too long");
      line += Buffer.from(this.#rest.subarray(0, taken)).toString("latin1");
      this.#rest = this.#rest.subarray(end < 0 ? taken : taken + 1);
      if (end >= 0) return line.endsWith("\r") ? line.slice(0, -1) : line;
    }
    return line === "" ? undefined : line;
  }

  async *take(bytes: number): AsyncGenerator<Uint8Array> {
    for (let left = bytes; left > 0;) {
      if (!(await this.#next())) throw incomplete();
      const piece = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(piece.byteLength);
      left -= piece.byteLength;
      yield piece;
    }
  }

  async end(): Promise<void> {
    await this.#pieces.return?.();
  }
}

/**
 * The bytes that a chunked body carries. Errors: `SignatureDoesNotMatch`,
 * `IncompleteBody`, `InvalidRequest`, `MalformedTrailerError`.
 */
export async function* decodeChunked(
  body: Body,
  { signer, trailers }: ChunkedOptions,
): AsyncGenerator<Uint8Array> {
  const pieces = new Pieces(body);
  let previous = signer?.seed ?? "";
  try {
    for (;;) {
      const line = await pieces.line();
      if (line === undefined) throw incomplete();
      const [, size, signature] = chunkHead.exec(line) ?? [];
      if (size === undefined) throw malformed("a chunk does not begin with its size");
      const bytes = Number.parseInt(size, 16);
      const digest = createHash("sha256");
      for await (const piece of pieces.take(bytes)) {
        if (signer !== undefined) digest.update(piece);
        yield piece;
      }
      if (signer !== undefined) {
        const hash = digest.digest("hex");
        const lines = [signer.time, signer.scope, previous, emptyDigest, hash];
        const wanted = sign(signer.key, `${algorithm}-PAYLOAD`, ...lines);
        if (!equalSignatures(wanted, signature ?? "")) throw wrongSignature("a chunk");
        previous = wanted;
      }
      if (bytes === 0) break;
      if ((await pieces.line()) !== "") throw malformed("a chunk is longer than its size");
    }
    await readTrailers(pieces, { signer, trailers }, previous);
  } finally {
    await pieces.end();
  }
}

async function readTrailers(
  pieces: Pieces,
  { signer, trailers }: ChunkedOptions,
  previous: string,
): Promise<void> {
  let signed = "";
  let signature = "";
  for (let line = await pieces.line(); line !== undefined; line = await pieces.line()) {
    if (line === "") continue;
    const at = line.indexOf(":");
    const name = line.slice(0, at).trim().toLowerCase();
    const value = line.slice(at + 1).trim();
    if (at < 1 || trailers === undefined || trailers.size === maxTrailers) {
      throw new S3Error(
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed.",
      );
    }
    if (name === trailerSignature) signature = value;
    else {
      trailers.set(name, value);
      signed += `${name}:${value}\n`;
    }
  }
  if (signer === undefined || trailers === undefined) return;
  const lines = [signer.time, signer.scope, previous, digestOf(signed)];
  const wanted = sign(signer.key, `${algorithm}-TRAILER`, ...lines);
  if (!equalSignatures(wanted, signature)) throw wrongSignature("the trailer");
}

function wrongSignature(what: string): S3Error {
  return new S3Error("SignatureDoesNotMatch", `The signature of ${what} does not match.`);
}

function malformed(what: string): S3Error {
  return new S3Error("InvalidRequest", `The body is not aws-chunked: ${what}.`);
}

function incomplete(): S3Error {
  return new S3Error("IncompleteBody", "The body ended before its last chunk.");
}
