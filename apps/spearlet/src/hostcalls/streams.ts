/**
 * Open streams of one attempt, by number: for guests that can't hold what they
 * read or write, and whose pipe carries one call at a time. Whatever is open when
 * the attempt ends is dropped; what was not finished is not stored.
 */
import { Fault } from "@spear/shared/fault.ts";
import { hostcallLimits, type ObjectInfo } from "@spear/shared/hostcalls.ts";
import { noBytes, type Body } from "./body.ts";

/** Pieces that wait for the store; each is as large as a call. */
const mostWaiting = 4;

interface Reader {
  pieces: AsyncIterator<Uint8Array>;
  rest: Uint8Array;
}

interface Writer {
  pieces: WritableStreamDefaultWriter<Uint8Array>;
  stored: Promise<ObjectInfo>;
}

export class Streams {
  readonly #readers = new Map<number, Reader>();
  readonly #writers = new Map<number, Writer>();
  #last = 0;

  #next(): number {
    if (this.#readers.size + this.#writers.size >= hostcallLimits.streams) {
      const most = hostcallLimits.streams;
      throw new Fault("too_many_requests", `at most ${most} streams may be open`, {
        help: "close those that are done",
      });
    }
    return ++this.#last;
  }

  /** Opens a stream over bytes; its number. */
  openReader(bytes: AsyncIterable<Uint8Array>): number {
    const stream = this.#next();
    this.#readers.set(stream, { pieces: bytes[Symbol.asyncIterator](), rest: noBytes });
    return stream;
  }

  /** The next bytes, at most `maxBytes`; at the end none, and the stream is closed. */
  async read(stream: number, maxBytes: number): Promise<{ bytes: Uint8Array; end: boolean }> {
    const reader = this.#readers.get(stream);
    if (reader === undefined) throw noStream(stream, "read");
    while (reader.rest.length === 0) {
      const next = await reader.pieces.next();
      if (next.done === true) {
        this.#readers.delete(stream);
        return { bytes: noBytes, end: true };
      }
      reader.rest = next.value;
    }
    const size = Math.min(maxBytes, hostcallLimits.pipeBytes);
    const bytes = reader.rest.subarray(0, size);
    reader.rest = reader.rest.subarray(bytes.length);
    return { bytes, end: false };
  }

  /** Opens a stream whose bytes `store` takes in; its number. */
  openWriter(store: (body: Body) => Promise<ObjectInfo>): number {
    const stream = this.#next();
    const waiting = new CountQueuingStrategy({ highWaterMark: mostWaiting });
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>({}, waiting);
    const pieces = writable.getWriter();
    const stored = store(readable);
    // Whoever writes or finishes hears of it.
    stored.catch((error: unknown) => pieces.abort(error).catch(() => undefined));
    this.#writers.set(stream, { pieces, stored });
    return stream;
  }

  /** Adds bytes, as fast as the store takes them. Throws what the store refused. */
  async write(stream: number, bytes: Uint8Array): Promise<void> {
    const writer = this.#writers.get(stream);
    if (writer === undefined) throw noStream(stream, "written");
    if (bytes.length === 0) return;
    await writer.pieces.ready;
    // How it goes shows when it is finished; a failure also ends the next wait.
    writer.pieces.write(bytes.slice()).catch(() => undefined);
  }

  /** Ends a stream; the object that was stored. */
  async finish(stream: number): Promise<ObjectInfo> {
    const writer = this.#writers.get(stream);
    if (writer === undefined) throw noStream(stream, "finished");
    this.#writers.delete(stream);
    writer.pieces.close().catch(() => undefined);
    return writer.stored;
  }

  /** Drops a stream; fine for one that is closed. */
  async close(stream: number): Promise<void> {
    const reader = this.#readers.get(stream);
    this.#readers.delete(stream);
    await reader?.pieces.return?.(undefined);
    const writer = this.#writers.get(stream);
    this.#writers.delete(stream);
    await writer?.pieces.abort(new Fault("cancelled", "the stream was closed"));
  }

  async closeAll(): Promise<void> {
    const all = [...this.#readers.keys(), ...this.#writers.keys()];
    await Promise.allSettled(all.map((stream) => this.close(stream)));
  }
}

function noStream(stream: number, how: string): Fault {
  return new Fault("not_found", `stream ${stream} is not open to be ${how}`, { field: "stream" });
}
