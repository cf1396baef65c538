/**
 * Real pipes for a command's output. What the platform offers is a socket pair,
 * and a command that opens /dev/stdout or /dev/stderr by name can't open a socket.
 */
import { dlopen, ptr } from "bun:ffi";
import { closeSync } from "node:fs";

const O_CLOEXEC = 0o2000000;

function openLibc() {
  const symbols = { pipe2: { args: ["ptr", "i32"], returns: "i32" } } as const;
  try {
    return dlopen("libc.so.6", symbols);
  } catch {
    return dlopen(`libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`, symbols);
  }
}

let libc: ReturnType<typeof openLibc> | undefined;

/** The reading end of a pipe whose writing end goes to a child. */
export class OutputPipe {
  /** For the child; closed here by `started`. */
  readonly writeEnd: number;
  readonly #readEnd: number;
  readonly #reader;

  constructor() {
    libc ??= openLibc();
    const ends = new Int32Array(2);
    if (libc.symbols.pipe2(ptr(ends), O_CLOEXEC) !== 0) {
      throw new Error("the node has no file descriptors left");
    }
    [this.#readEnd, this.writeEnd] = ends as unknown as [number, number];
    this.#reader = Bun.file(this.#readEnd).stream().getReader();
  }

  /** The child has its end now, or there is no child. */
  started(): void {
    closeSync(this.writeEnd);
  }

  /**
   * Hands on every piece until no process holds the other end, or until `cancel`.
   * A piece that can't be taken is lost, and the command goes on.
   */
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
