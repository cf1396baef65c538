/**
 * The output of one attempt on the node's disk: written while it runs, read while it
 * runs and after, in the order in which it was written. Binary throughout.
 */
import { Fault } from "@spear/shared/fault.ts";
import { aborted } from "@spear/shared/lifecycle.ts";
import {
  decodeTurns,
  encodeTurn,
  inOrder,
  outputStreams,
  turnBytes,
  type OutputPiece,
  type OutputSource,
  type OutputStream,
} from "@spear/shared/output.ts";
import { orderPart, type SealedPart } from "@spear/shared/sealed-output.ts";
import type { OutputSink } from "../agents/agent.ts";
import type { AttemptId } from "./attempt.ts";
import { StreamLog } from "./streamlog.ts";

export interface LogQuery {
  /** One stream only. */
  stream?: OutputStream | undefined;
  /** Go on until the attempt ends. */
  follow: boolean;
  /** Only this many last bytes of each stream first. */
  tailBytes?: number | undefined;
}

/** What is kept of the order: turns before these are forgotten, the bytes are not. */
const orderBytes = 1 << 20;

/** Where the bytes of a stream, or the order, lie. */
export interface LogPart {
  part: SealedPart;
  /** Offset of the oldest byte that is kept. */
  offset: number;
  sizeBytes: number;
  read(): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

export class AttemptLog implements OutputSink {
  readonly id: AttemptId;
  readonly dir: string;
  readonly #streams: readonly StreamLog[];
  readonly #order: StreamLog;
  /** How much of each stream the turns speak of. */
  readonly #told = new Map<OutputStream, number>();
  /** Who wrote last; undefined at first and after a restart. */
  #current: OutputStream | undefined;
  #ended: boolean;
  #removed = false;
  #readers = 0;
  #changed = Promise.withResolvers<void>();
  #writing: Promise<void> = Promise.resolve();

  private constructor(
    id: AttemptId,
    dir: string,
    open: (name: string, maxBytes: number | undefined, unitBytes: number) => StreamLog,
    { maxBytes, ended }: { maxBytes: number | undefined; ended: boolean },
  ) {
    this.id = id;
    this.dir = dir;
    this.#streams = outputStreams.map((stream) => open(stream, maxBytes, 1));
    this.#order = open(orderPart, orderBytes, turnBytes);
    this.#ended = ended;
  }

  static create(id: AttemptId, dir: string, maxBytes: number): AttemptLog {
    const open = (name: string, most = Infinity) => new StreamLog(dir, name, most);
    return new AttemptLog(id, dir, open, { maxBytes, ended: false });
  }

  /** What an earlier run of the SPEARlet captured; with `maxBytes` it goes on. */
  static load(id: AttemptId, dir: string, maxBytes?: number): AttemptLog {
    const open = (name: string, most: number | undefined, unitBytes: number) =>
      StreamLog.load(dir, name, most, unitBytes);
    return new AttemptLog(id, dir, open, { maxBytes, ended: maxBytes === undefined });
  }

  /** How many bytes of a stream were ever written. */
  endOf(stream: OutputStream): number {
    return this.#of(stream).end;
  }

  #of(stream: OutputStream): StreamLog {
    return this.#streams[outputStreams.indexOf(stream)] as StreamLog;
  }

  get #all(): readonly StreamLog[] {
    return [...this.#streams, this.#order];
  }

  get keptBytes(): number {
    return this.#all.reduce((sum, log) => sum + log.keptBytes, 0);
  }

  /** True while somebody reads it. */
  get inUse(): boolean {
    return this.#readers > 0;
  }

  /** What there is to be kept elsewhere, once it has ended. */
  parts(): LogPart[] {
    return this.#all
      .filter(({ keptBytes }) => keptBytes > 0)
      .map((log) => ({
        part: log.name as SealedPart,
        offset: log.start,
        sizeBytes: log.keptBytes,
        read: () => contentOf(log),
      }));
  }

  /** Writes of all streams take turns, so that memory holds one at a time. */
  write(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    const write = this.#writing.then(async () => {
      if (bytes.byteLength === 0) return;
      if (this.#current !== stream) await this.#turnTo(stream);
      await this.#of(stream).write(bytes);
      this.#notify();
    });
    this.#writing = write.catch(() => undefined);
    return write;
  }

  /** Says how far the others have come, before this one goes on. */
  async #turnTo(stream: OutputStream): Promise<void> {
    const turns: Buffer[] = [];
    for (const other of outputStreams) {
      const end = this.endOf(other);
      if (other === stream || end === (this.#told.get(other) ?? 0)) continue;
      turns.push(encodeTurn({ stream: other, end }));
      this.#told.set(other, end);
    }
    if (turns.length > 0) await this.#order.write(Buffer.concat(turns));
    this.#current = stream;
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** No more is written: readers that follow come to their end. */
  async end(): Promise<void> {
    await this.#writing;
    await Promise.all(this.#all.map((log) => log.close()));
    this.#ended = true;
    this.#notify();
  }

  /** Its files are going: who reads is told, rather than shown an end that is none. */
  remove(): void {
    this.#removed = true;
  }

  /**
   * The output so far and, if it is followed, what comes until the end. Throws
   * `logs_unavailable` if the node removes it meanwhile.
   */
  async *read(query: LogQuery, signal: AbortSignal): AsyncGenerator<OutputPiece> {
    const wanted = this.#streams.filter(
      ({ name }) => query.stream === undefined || query.stream === name,
    );
    const sources = wanted.map((log) => {
      const tail = query.tailBytes === undefined ? 0 : log.end - query.tailBytes;
      return new StreamSource(log, Math.max(log.start, tail), signal);
    });
    // One stream alone is in order.
    const order = new Position(this.#order, wanted.length > 1 ? this.#order.start : Infinity);
    const stopped = aborted(signal);
    this.#readers += 1;
    try {
      while (!signal.aborted) {
        // Taken before reading, so that what is written meanwhile is not missed.
        const ended = this.#ended;
        const changed = this.#changed.promise;
        yield* inOrder(decodeTurns(order.rest()), sources);
        if (this.#removed) {
          throw new Fault("logs_unavailable", "the node has removed the output of this attempt");
        }
        if (ended || !query.follow) return;
        await Promise.race([changed, stopped]);
      }
    } finally {
      this.#readers -= 1;
    }
  }
}

/** How far a stream was read. */
class Position {
  readonly log: StreamLog;
  offset: number;

  constructor(log: StreamLog, offset: number) {
    this.log = log;
    this.offset = offset;
  }

  /** What there is now behind it. */
  async *rest(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    for (;;) {
      const piece = await this.log.read(this.offset);
      if (piece === undefined) return;
      this.offset = piece.offset + piece.data.byteLength;
      yield piece.data;
    }
  }
}

function contentOf(log: StreamLog): AsyncIterable<Uint8Array<ArrayBuffer>> {
  return new Position(log, log.start).rest();
}

/** A stream as the order's turns ask for it. */
class StreamSource implements OutputSource {
  readonly stream: OutputStream;
  readonly #at: Position;
  readonly #signal: AbortSignal;

  constructor(log: StreamLog, offset: number, signal: AbortSignal) {
    this.stream = log.name as OutputStream;
    this.#at = new Position(log, offset);
    this.#signal = signal;
  }

  async *take(end: number): AsyncGenerator<OutputPiece> {
    const { log, offset: from } = this.#at;
    for (let at = from; at < end && !this.#signal.aborted; at = this.#at.offset) {
      const piece = await log.read(at);
      if (piece === undefined || piece.offset >= end) return;
      const data = piece.data.subarray(0, Math.min(piece.data.byteLength, end - piece.offset));
      this.#at.offset = piece.offset + data.byteLength;
      yield { stream: this.stream, data, offset: piece.offset };
    }
  }
}
