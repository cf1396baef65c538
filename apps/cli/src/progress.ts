/** How far a transfer is: a bar on a terminal's standard error, redrawn at most ten times a second. */
import { formatBytes, formatDuration } from "./values.ts";

const redrawMs = 100;
const barWidth = 24;

/** The line for a transfer of `done` of `total` bytes after `elapsedMs`. */
export function progressLine(
  what: string,
  done: number,
  total: number | undefined,
  elapsedMs: number,
): string {
  const rate = elapsedMs > 0 ? `${formatBytes((done / elapsedMs) * 1_000)}/s` : "";
  if (total === undefined) return `${what} ${formatBytes(done)}  ${rate}`;
  const part = total === 0 ? 1 : Math.min(1, done / total);
  const filled = Math.round(part * barWidth);
  const bar = `${"#".repeat(filled)}${".".repeat(barWidth - filled)}`;
  const left =
    done > 0 && part < 1 ? `  ${formatDuration((elapsedMs / done) * (total - done))}` : "";
  return `${what} [${bar}] ${Math.floor(part * 100)}%  ${formatBytes(done)} of ${formatBytes(total)}  ${rate}${left}`;
}

export class Progress implements Disposable {
  readonly #shown: boolean;
  readonly #what: string;
  readonly #total: number | undefined;
  readonly #startedAt = performance.now();
  #done = 0;
  #drawnAt = 0;

  constructor(wanted: boolean, what: string, total: number | undefined) {
    this.#shown = wanted && process.stderr.isTTY;
    this.#what = what;
    this.#total = total;
  }

  add(bytes: number): void {
    this.#done += bytes;
    const now = performance.now();
    if (!this.#shown || now - this.#drawnAt < redrawMs) return;
    this.#drawnAt = now;
    this.#draw();
  }

  #draw(): void {
    const elapsed = performance.now() - this.#startedAt;
    process.stderr.write(`\r\u001b[K${progressLine(this.#what, this.#done, this.#total, elapsed)}`);
  }

  /** Draws the last state and leaves the line. */
  [Symbol.dispose](): void {
    if (!this.#shown) return;
    this.#draw();
    process.stderr.write("\n");
  }
}
