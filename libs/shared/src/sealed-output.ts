/**
 * Output of an attempt that has ended, in objects of the store: one for each stream that
 * has any, and one for the order if there is more than one. See output.ts.
 */
import type { ObjectId } from "./ids.ts";
import {
  decodeTurns,
  inOrder,
  outputStreams,
  type OutputPiece,
  type OutputSource,
  type OutputStream,
} from "./output.ts";
import type { ByteRange } from "./store/schema.ts";

/** Name of the part that holds the turns. */
export const orderPart = "order";
export const sealedParts = [...outputStreams, orderPart] as const;
export type SealedPart = (typeof sealedParts)[number];

/** An object that holds a stream, or the order. */
export interface SealedStream {
  stream: SealedPart;
  objectId: ObjectId;
  /** Offset of its first byte in the stream: what came before was not kept. */
  offset: number;
  sizeBytes: number;
}

/** Key of a part in the bucket of outputs. */
export function sealedKey(taskId: string, attempt: number, part: SealedPart): string {
  return `${taskId}/${attempt}/${part}`;
}

/** Who holds the output of a task. */
export function outputHolder(taskId: string): string {
  return `task/${taskId}`;
}

export interface SealedQuery {
  /** One stream only. */
  stream?: OutputStream | undefined;
  /** Only this many last bytes of each stream. */
  tailBytes?: number | undefined;
  /** Offset of the first byte that is wanted of a stream; what comes before was seen. */
  from?: (stream: OutputStream) => number;
}

/** Reads a range of an object that is not empty. */
export type ReadRange = (id: ObjectId, range: ByteRange) => AsyncIterable<Uint8Array>;

/** The output that was sealed, in the order in which it was written. */
export async function* readSealed(
  sealed: readonly SealedStream[],
  query: SealedQuery,
  read: ReadRange,
): AsyncGenerator<OutputPiece> {
  const { stream: only, tailBytes = Infinity, from = () => 0 } = query;
  const sources = sealed.flatMap(({ stream, objectId, offset, sizeBytes }) => {
    if (stream === orderPart || (only !== undefined && only !== stream)) return [];
    const start = Math.max(0, sizeBytes - tailBytes, from(stream) - offset);
    if (start >= sizeBytes) return [];
    const bytes = read(objectId, { start, end: sizeBytes });
    return [new SealedSource(stream, offset + start, bytes)];
  });
  const order = sources.length > 1 ? sealed.find(({ stream }) => stream === orderPart) : undefined;
  const turns = order === undefined ? [] : read(order.objectId, { start: 0, end: order.sizeBytes });
  try {
    yield* inOrder(decodeTurns(turns), sources);
  } finally {
    for (const source of sources) await source.close();
  }
}

/** A stream that is read once, with what is left of a piece that was too much. */
class SealedSource implements OutputSource {
  readonly stream: OutputStream;
  readonly #pieces: AsyncIterator<Uint8Array>;
  #offset: number;
  #rest: Uint8Array | undefined;

  constructor(stream: OutputStream, offset: number, bytes: AsyncIterable<Uint8Array>) {
    this.stream = stream;
    this.#offset = offset;
    this.#pieces = bytes[Symbol.asyncIterator]();
  }

  async *take(end: number): AsyncGenerator<OutputPiece> {
    while (this.#offset < end) {
      const piece = this.#rest ?? (await this.#next());
      if (piece === undefined) return;
      const data = piece.subarray(0, Math.min(piece.byteLength, end - this.#offset));
      this.#rest = data.byteLength < piece.byteLength ? piece.subarray(data.byteLength) : undefined;
      const offset = this.#offset;
      this.#offset += data.byteLength;
      yield { stream: this.stream, data, offset };
    }
  }

  async #next(): Promise<Uint8Array | undefined> {
    const next = await this.#pieces.next();
    return next.done === true ? undefined : next.value;
  }

  async close(): Promise<void> {
    await this.#pieces.return?.();
  }
}
