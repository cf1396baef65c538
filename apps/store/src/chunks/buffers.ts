/**
 * The memory for chunks on their way: a fixed number of buffers that all clients
 * share. Who finds none waits for one, in order. Nobody may hold one while
 * waiting for another, so that everybody's turn comes. They lie in shared memory,
 * where the hashing worker sees them too.
 */
import { chunkBytes } from "./chunk.ts";

export class ChunkBuffers {
  readonly #free: Buffer[] = [];
  readonly #waiting: ((buffer: Buffer) => void)[] = [];
  readonly #most: number;
  #made = 0;

  /** `memoryBytes`: what all buffers together may take. */
  constructor(memoryBytes: number) {
    this.#most = Math.max(1, Math.floor(memoryBytes / chunkBytes));
  }

  /** A buffer of one chunk; rejects with the signal's reason when it aborts first. */
  take(signal: AbortSignal): Promise<Buffer> {
    signal.throwIfAborted();
    const free = this.tryTake();
    if (free !== undefined) return Promise.resolve(free);
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        const at = this.#waiting.indexOf(given);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal.reason as Error);
      };
      const given = (buffer: Buffer) => {
        signal.removeEventListener("abort", onAbort);
        resolve(buffer);
      };
      this.#waiting.push(given);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** A buffer if one is to be had at once and nobody waits. */
  tryTake(): Buffer | undefined {
    const free = this.#free.pop();
    if (free !== undefined || this.#made >= this.#most) return free;
    this.#made++;
    return Buffer.from(new SharedArrayBuffer(chunkBytes));
  }

  /** Gives back what was taken. */
  give(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next !== undefined) next(buffer);
    else this.#free.push(buffer);
  }
}
