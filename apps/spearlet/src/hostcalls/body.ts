/** Bytes that come with a call or go with its answer: at hand, or as they come. */
import { Fault } from "@spear/shared/fault.ts";

export type Body = Uint8Array | AsyncIterable<Uint8Array>;

export const noBytes = new Uint8Array(0);

/** All bytes at once. Throws `payload_too_large` beyond `maxBytes`. */
export async function collect(body: Body, maxBytes: number, what: string): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of piecesOf(body)) {
    size += piece.length;
    if (size > maxBytes) {
      throw new Fault("payload_too_large", `${what} has more than ${maxBytes} bytes`);
    }
    pieces.push(piece);
  }
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
}

/** The bytes piece by piece. */
export async function* piecesOf(body: Body): AsyncGenerator<Uint8Array> {
  if (body instanceof Uint8Array) {
    if (body.length > 0) yield body;
  } else yield* body;
}

/** The same bytes; `count` is told of each piece that passes. */
export async function* counted(
  body: Body,
  count: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const piece of piecesOf(body)) {
    count(piece.length);
    yield piece;
  }
}
