/**
 * A command's output over real pipes. What the platform offers is a socket pair,
 * and a command that opens /dev/stdout or /dev/stderr by name can't open a socket.
 *
 * Most commands are short. A look into the pipe now and then, and one at the end,
 * costs a fraction of what it takes to have the event loop watch it; so it is
 * watched only when the command has shown that it goes on, or says much.
 */
import { closeSync } from "node:fs";
import { makePipe, readNow } from "../../machine/libc.ts";

type Take = (bytes: Uint8Array) => Promise<void>;

/** Pauses between looks, in milliseconds; output waits no longer than the command has run. */
const pausesMs = [2, 4, 8, 16];
/** As much as a pipe holds: who fills it between two looks says much. */
const buffer = Buffer.alloc(65_536);

/** A pipe whose writing end goes to a child. */
class OutputPipe {
  /** For the child; to be closed here when the child has it, or there is none. */
  readonly writeEnd: number;
  readonly #readEnd: number;
  readonly #take: Take;
  #reader: { cancel(): Promise<void> } | undefined;
  #closed = false;

  constructor(take: Take) {
    const { readEnd, writeEnd } = makePipe();
    this.#readEnd = readEnd;
    this.writeEnd = writeEnd;
    this.#take = take;
  }

  /** Hands on what is there; true if more than a few looks is needed to keep up. */
  async look(): Promise<boolean> {
    for (;;) {
      const size = this.#closed ? undefined : readNow(this.#readEnd, buffer);
      if (size === undefined) return false;
      if (size === 0) this.close();
      else await this.#take(Uint8Array.from(buffer.subarray(0, size)));
      if (size === buffer.byteLength) return true;
    }
  }

  /** Hands on every piece until nobody holds the other end, or until `cancel`. */
  async drain(): Promise<void> {
    if (this.#closed) return;
    const reader = Bun.file(this.#readEnd).stream().getReader();
    this.#reader = reader;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        await this.#take(value);
      }
    } finally {
      await reader.cancel();
      this.close();
    }
  }

  /** Stops draining, whoever holds the other end. */
  async cancel(): Promise<void> {
    await this.#reader?.cancel();
  }

  /** A writer learns by its next write that nobody listens. */
  close(): void {
    if (!this.#closed) closeSync(this.#readEnd);
    this.#closed = true;
  }
}

/** The two output streams of one command. */
export class OutputPipes {
  readonly #pipes: readonly [OutputPipe, OutputPipe];

  /** Throws if there are no descriptors left. */
  constructor(take: (stream: "stdout" | "stderr", bytes: Uint8Array) => Promise<void>) {
    const stdout = new OutputPipe((bytes) => take("stdout", bytes));
    this.#pipes = [stdout, new OutputPipe((bytes) => take("stderr", bytes))];
  }

  /** For the child; to be closed here when the child has them, or there is none. */
  get writeEnds(): [stdout: number, stderr: number] {
    return [this.#pipes[0].writeEnd, this.#pipes[1].writeEnd];
  }

  closeWriteEnds(): void {
    for (const end of this.writeEnds) closeSync(end);
  }

  /**
   * Hands on all output until nobody holds the other ends, or until `cancel`.
   * `ended` resolves when the command and all that it started have ended.
   */
  async drain(ended: Promise<void>): Promise<void> {
    try {
      await this.#look(ended);
    } catch (error) {
      this.close();
      throw error;
    }
    await Promise.all(this.#pipes.map((pipe) => pipe.drain()));
  }

  async #look(ended: Promise<void>): Promise<void> {
    let over = false;
    void ended.then(() => (over = true));
    for (const pauseMs of pausesMs) {
      const pause = Promise.withResolvers<void>();
      const timer = setTimeout(pause.resolve, pauseMs);
      await Promise.race([ended, pause.promise]);
      clearTimeout(timer);
      const much = [await this.#pipes[0].look(), await this.#pipes[1].look()];
      if (over || much.includes(true)) return;
    }
  }

  /** Stops draining, whoever holds the other ends. */
  cancel(): void {
    for (const pipe of this.#pipes) void pipe.cancel();
  }

  close(): void {
    for (const pipe of this.#pipes) pipe.close();
  }
}
