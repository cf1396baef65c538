/**
 * Real pipes for a command's output. What the platform offers is a socket pair,
 * and a command that opens /dev/stdout or /dev/stderr by name can't open a socket.
 */
import { closeSync } from "node:fs";
import { makePipe } from "../../machine/libc.ts";

/** A pipe whose writing end goes to a child. */
export class OutputPipe {
  /** For the child; to be closed here when the child has it, or there is none. */
  readonly writeEnd: number;
  readonly #readEnd: number;
  readonly #reader;

  constructor() {
    const { readEnd, writeEnd } = makePipe();
    this.#readEnd = readEnd;
    this.writeEnd = writeEnd;
    this.#reader = Bun.file(readEnd).stream().getReader();
  }

  /** Hands on every piece until nobody holds the other end, or until `cancel`. */
  async drain(take: (bytes: Uint8Array) => Promise<void>): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await this.#reader.read();
        if (done) return;
        await take(value);
      }
    } finally {
      await this.#reader.cancel();
      closeSync(this.#readEnd);
    }
  }

  /** Stops draining, whoever holds the other end. */
  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}
