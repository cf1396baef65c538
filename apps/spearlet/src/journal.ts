/**
 * A small map that survives SIGKILL: each change is a line appended to a file,
 * and the file is written anew when most of it is out of date. Nothing is synced:
 * what a power loss takes, SMS finds out by the node's new incarnation.
 */
import { closeSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";

interface Line<T> {
  key: string;
  /** Absent: the key was deleted. */
  value?: T;
}

const compactAboveBytes = 1024 * 1024;

function parseLine<T>(text: string): Line<T> | undefined {
  try {
    return JSON.parse(text) as Line<T>;
  } catch {
    return undefined;
  }
}

export class Journal<T> implements Disposable {
  readonly #path: string;
  readonly #entries: Map<string, T>;
  #fd: number;
  #bytes: number;

  private constructor(path: string, entries: Map<string, T>) {
    this.#path = path;
    this.#entries = entries;
    ({ fd: this.#fd, bytes: this.#bytes } = this.#rewrite());
  }

  /** Opens it with what it held; a line that was cut off by a crash or a full disk is ignored. */
  static open<T>(path: string): Journal<T> {
    const entries = new Map<string, T>();
    let text = "";
    try {
      text = readFileSync(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    for (const row of text.split("\n")) {
      const line = parseLine<T>(row);
      if (line === undefined) continue;
      if (line.value === undefined) entries.delete(line.key);
      else entries.set(line.key, line.value);
    }
    return new Journal(path, entries);
  }

  get size(): number {
    return this.#entries.size;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  entries(): [string, T][] {
    return [...this.#entries];
  }

  /** Keeps the value; when it returns, SIGKILL does not lose it. */
  set(key: string, value: T): void {
    this.#entries.set(key, value);
    this.#append({ key, value });
  }

  delete(key: string): void {
    if (this.#entries.delete(key)) this.#append({ key });
  }

  #append(line: Line<T>): void {
    this.#bytes += writeSync(this.#fd, `${JSON.stringify(line)}\n`);
    if (this.#bytes < compactAboveBytes) return;
    closeSync(this.#fd);
    ({ fd: this.#fd, bytes: this.#bytes } = this.#rewrite());
  }

  #rewrite(): { fd: number; bytes: number } {
    const next = `${this.#path}.new`;
    const fd = openSync(next, "w", 0o600);
    let bytes = 0;
    for (const [key, value] of this.#entries) {
      bytes += writeSync(fd, `${JSON.stringify({ key, value })}\n`);
    }
    renameSync(next, this.#path);
    // Live entries alone must not make every append a rewrite.
    return { fd, bytes: Math.min(bytes, compactAboveBytes / 2) };
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
