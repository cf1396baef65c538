/**
 * Output of a container: Docker's multiplexed stream taken apart and written to
 * the sink, each byte once. Every source begins with the container's first byte:
 * a connection that was there from the start, or the engine's log. What the sink
 * has already is skipped, so a source can be replaced by another at any time.
 */
import type { OutputSink } from "../agent.ts";

export interface Piece {
  stream: "stdout" | "stderr";
  bytes: Uint8Array;
  /** How many frames ended with it. */
  frames: number;
}

const headerBytes = 8;
const systemError = 3;

/**
 * Takes frames apart: a byte for the stream, three of zero, four for the length
 * (big endian), then that many bytes. Pieces that came together stay together.
 */
export async function* demux(source: AsyncIterable<Uint8Array>): AsyncGenerator<Piece> {
  const header = new DataView(new ArrayBuffer(headerBytes));
  let inHeader = 0;
  let left = 0;
  for await (const chunk of source) {
    const found: (Omit<Piece, "bytes"> & { parts: Uint8Array[] })[] = [];
    for (let at = 0; at < chunk.byteLength;) {
      if (left === 0) {
        header.setUint8(inHeader++, chunk[at++] as number);
        if (inHeader < headerBytes) continue;
        inHeader = 0;
        left = header.getUint32(4);
        continue;
      }
      const part = chunk.subarray(at, at + left);
      at += part.byteLength;
      left -= part.byteLength;
      const kind = header.getUint8(0);
      if (kind === systemError) throw new Error(Buffer.from(part).toString());
      const stream = kind === 2 ? "stderr" : "stdout";
      let piece = found.at(-1);
      if (piece?.stream !== stream) found.push((piece = { stream, parts: [], frames: 0 }));
      piece.parts.push(part);
      if (left === 0) piece.frames++;
    }
    for (const { parts, ...piece } of found) {
      yield {
        ...piece,
        bytes: parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts),
      };
    }
  }
}

/** The sink refused: no fault of the engine or its connection. */
export class SinkFailure extends Error {
  constructor(cause: unknown) {
    super("output can't be kept", { cause });
    this.name = "SinkFailure";
  }
}

const keptHeadBytes = 512;

export class Output {
  readonly #sink: OutputSink;
  /** How many bytes of each stream the sink has. */
  #kept: { stdout: number; stderr: number };
  #head = Buffer.alloc(0);

  constructor(sink: OutputSink, kept = { stdout: 0, stderr: 0 }) {
    this.#sink = sink;
    this.#kept = { ...kept };
  }

  /** The first bytes of standard error, as text. */
  get errorHead(): string {
    return this.#head.toString();
  }

  /**
   * Copies what the sink does not have yet; returns how many bytes the source had.
   * Throws `SinkFailure`, or what the source throws. The caller never runs two at
   * the same time.
   */
  async copy(source: AsyncIterable<Uint8Array>): Promise<number> {
    const passed = { stdout: 0, stderr: 0 };
    for await (const { stream, bytes } of demux(source)) {
      const start = passed[stream];
      passed[stream] += bytes.byteLength;
      const known = this.#head.byteLength - start;
      if (stream === "stderr" && known >= 0) {
        const more = bytes.subarray(known, keptHeadBytes - start);
        this.#head = Buffer.concat([this.#head, more]);
      }
      const fresh = bytes.subarray(Math.max(0, this.#kept[stream] - start));
      if (fresh.byteLength === 0) continue;
      try {
        await this.#sink.write(stream, fresh);
      } catch (error) {
        throw new SinkFailure(error);
      }
      this.#kept[stream] += fresh.byteLength;
    }
    return passed.stdout + passed.stderr;
  }

  /** Takes it that the sink has nothing: the next source is copied whole. */
  async repeat(why: string): Promise<void> {
    await this.#sink.write("system", Buffer.from(`${why}\n`));
    this.#kept = { stdout: 0, stderr: 0 };
  }
}
