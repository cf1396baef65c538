/**
 * The memory for chunks on their way in: a fixed number of buffers that all
 * clients share. Who finds none waits for one, in order; what was taken always
 * comes back without needing another, so nobody waits for ever.
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
    const free = this.#free.pop();
    if (free !== undefined) return Promise.resolve(free);
    if (this.#made < this.#most) {
      this.#made++;
      return Promise.resolve(Buffer.allocUnsafeSlow(chunkBytes));
    }
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

  give(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next !== undefined) next(buffer);
    else this.#free.push(buffer);
  }
}
