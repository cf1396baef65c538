/**
 * The output of an attempt: three streams of bytes, and the order in which they were
 * written. The order is a fourth stream of turns: each says how far a stream had come when
 * another went on. What no turn speaks of was written last. An attempt that writes to one
 * stream only has no turns at all.
 *
 * Node and store keep output in this form, so that it is read the same way from either.
 */

export const outputStreams = ["stdout", "stderr", "system"] as const;
export type OutputStream = (typeof outputStreams)[number];

/** Bucket of the output of attempts that have ended. */
export const outputBucket = "spear-logs";

/** A stream was written up to `end` when another one went on. */
export interface Turn {
  stream: OutputStream;
  /** Offset behind its last byte then. */
  end: number;
}

export interface OutputPiece {
  stream: OutputStream;
  data: Uint8Array;
  /** Offset of the first byte in the attempt's stream. */
  offset: number;
}

/** Bytes of a turn: u64, big-endian, the end times four and the stream's number. */
export const turnBytes = 8;

export function encodeTurn({ stream, end }: Turn): Buffer {
  const bytes = Buffer.alloc(turnBytes);
  bytes.writeBigUInt64BE(BigInt(end) * 4n + BigInt(outputStreams.indexOf(stream)));
  return bytes;
}

/** Turns from their bytes, in pieces of any size; what is cut off at the end is left out. */
export async function* decodeTurns(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Turn> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of pieces) {
    rest = Buffer.concat([rest, piece]);
    const whole = rest.length - (rest.length % turnBytes);
    for (let at = 0; at < whole; at += turnBytes) {
      const value = rest.readBigUInt64BE(at);
      const stream = outputStreams[Number(value % 4n)];
      if (stream !== undefined) yield { stream, end: Number(value / 4n) };
    }
    rest = rest.subarray(whole);
  }
}

/** A stream that is read from its beginning on. */
export interface OutputSource {
  readonly stream: OutputStream;
  /** What comes next, up to the offset `end`; all that there is if that is infinite. */
  take(end: number): AsyncIterable<OutputPiece>;
}

/** What sources have, in the order in which it was written. */
export async function* inOrder(
  turns: AsyncIterable<Turn>,
  sources: readonly OutputSource[],
): AsyncGenerator<OutputPiece> {
  for await (const { stream, end } of turns) {
    const source = sources.find((one) => one.stream === stream);
    if (source !== undefined) yield* source.take(end);
  }
  for (const source of sources) yield* source.take(Infinity);
}
