/**
 * `wasi:io`: errors, pollables and streams. Everything here is blocking: what a
 * stream accepts it has also written, and what can be waited for is time.
 */
import { E, SystemError, kernel, scratch, uninterrupted } from "../system/kernel.ts";
import { nowNs } from "../system/clock.ts";

/** Most bytes of one read, and what an output stream accepts at once. */
const maxChunkBytes = 1024 * 1024;
const limit = scratch(16);
const second = 1_000_000_000n;
const nothing = new Uint8Array(0);

/** `error`: why a stream's last operation failed. */
export class IoError {
  /** Error number of Linux. */
  readonly errno: number;

  constructor(number: number) {
    this.errno = number;
  }

  toDebugString(): string {
    return `system error ${this.errno}`;
  }
}

/** `stream-error`, as it is thrown to the guest. */
export type StreamError = { tag: "closed" } | { tag: "last-operation-failed"; val: IoError };

/** Runs a stream's operation; a failure of the kernel becomes the stream's. */
function operate<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const failed: StreamError =
      error.errno === E.PIPE
        ? { tag: "closed" }
        : { tag: "last-operation-failed", val: new IoError(error.errno) };
    // The bindings take what is thrown as the value of the guest's result.
    throw Object.assign(new Error("stream error"), { payload: failed });
  }
}

function closed(): never {
  throw Object.assign(new Error("stream closed"), { payload: { tag: "closed" } });
}

/** `pollable`: ready from a moment of the monotonic clock on; 0 for always. */
export class Pollable {
  readonly atNs: bigint;

  constructor(atNs = 0n) {
    this.atNs = atNs;
  }

  ready(): boolean {
    return this.atNs === 0n || nowNs() >= this.atNs;
  }

  block(): void {
    poll([this]);
  }
}

/** `poll`: waits for the first of them; the places of those that are ready. */
export function poll(pollables: readonly Pollable[]): Uint32Array {
  if (pollables.length === 0) throw new Error("poll was given nothing to wait for");
  for (;;) {
    const ready = pollables.flatMap((one, index) => (one.ready() ? [index] : []));
    if (ready.length > 0) return new Uint32Array(ready);
    const first = pollables.reduce((least, { atNs }) => (atNs < least ? atNs : least), 1n << 63n);
    const now = nowNs();
    const rest = first > now ? first - now : 0n;
    limit.view.setBigInt64(0, rest / second, true);
    limit.view.setBigInt64(8, rest % second, true);
    uninterrupted(() => kernel.ppoll(null, 0, limit.address, null, 0));
  }
}

/** Gives the next bytes, at most `size`; none at the end. */
export type Source = (size: number) => Uint8Array;
/** Writes all of the bytes. */
export type Sink = (bytes: Uint8Array) => void;

/** `input-stream`. */
export class InputStream {
  readonly #source: Source;

  constructor(source: Source) {
    this.#source = source;
  }

  read(length: bigint): Uint8Array {
    if (length === 0n) return nothing;
    const size = length > maxChunkBytes ? maxChunkBytes : Number(length);
    const bytes = operate(() => this.#source(size));
    return bytes.length === 0 ? closed() : bytes;
  }

  blockingRead(length: bigint): Uint8Array {
    return this.read(length);
  }

  skip(length: bigint): bigint {
    return BigInt(this.read(length).length);
  }

  blockingSkip(length: bigint): bigint {
    return this.skip(length);
  }

  subscribe(): Pollable {
    return new Pollable();
  }
}

/** `output-stream`. */
export class OutputStream {
  readonly #sink: Sink;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  checkWrite(): bigint {
    return BigInt(maxChunkBytes);
  }

  write(contents: Uint8Array): void {
    operate(() => this.#sink(contents));
  }

  blockingWriteAndFlush(contents: Uint8Array): void {
    this.write(contents);
  }

  flush(): void {
    // Nothing is held back.
  }

  blockingFlush(): void {
    this.flush();
  }

  writeZeroes(length: bigint): void {
    this.write(new Uint8Array(Number(length > maxChunkBytes ? maxChunkBytes : length)));
  }

  blockingWriteZeroesAndFlush(length: bigint): void {
    this.writeZeroes(length);
  }

  splice(source: InputStream, length: bigint): bigint {
    const bytes = source.read(length);
    this.write(bytes);
    return BigInt(bytes.length);
  }

  blockingSplice(source: InputStream, length: bigint): bigint {
    return this.splice(source, length);
  }

  subscribe(): Pollable {
    return new Pollable();
  }
}

/** A stream over an open descriptor of the host that is written at its own place. */
export function writerOf(fd: number, written: (size: number) => void): OutputStream {
  return new OutputStream((bytes) => {
    for (let done = 0; done < bytes.length;) {
      const piece = bytes.subarray(done);
      const size = uninterrupted(() => kernel.write(fd, piece, piece.length));
      done += size;
      written(size);
    }
  });
}
