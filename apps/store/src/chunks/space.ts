/** The room on the store's disk: writes are refused before the reserve is touched. */
import { statfs } from "node:fs/promises";
import { Fault } from "@spear/shared/fault.ts";

/** How long a look at the free space counts, in milliseconds. */
const freshMs = 250;

export function storeFull(cause?: unknown): Fault {
  return new Fault("store_full", "the store's disk has no room left", {
    help: "delete objects, or give the store a larger disk",
    cause,
  });
}

/** An error of the file system; a full disk as `store_full`. */
export function diskFault(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOSPC" || code === "EDQUOT" ? storeFull(error) : error;
}

export class Space {
  readonly #path: string;
  readonly #reserveBytes: number;
  #freeBytes = 0;
  #lookedAtMs = -freshMs;

  constructor(path: string, reserveBytes: number) {
    this.#path = path;
    this.#reserveBytes = reserveBytes;
  }

  /** Throws `store_full` if `bytes` more would eat into the reserve. */
  async claim(bytes: number): Promise<void> {
    const now = performance.now();
    if (now - this.#lookedAtMs >= freshMs) {
      const space = await statfs(this.#path);
      this.#freeBytes = space.bavail * space.bsize;
      this.#lookedAtMs = now;
    }
    if (this.#freeBytes - bytes < this.#reserveBytes) throw storeFull();
    this.#freeBytes -= bytes;
  }
}
