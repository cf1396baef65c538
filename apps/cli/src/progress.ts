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

/** A line on a terminal's standard error that is drawn over again; nothing elsewhere. */
export class Line implements Disposable {
  #drawnAt = -redrawMs;
  #shown = "";

  /** Shows a text, unless the one before has only just come. */
  show(text: string): void {
    this.#shown = text;
    const now = performance.now();
    if (!process.stderr.isTTY || now - this.#drawnAt < redrawMs) return;
    this.#drawnAt = now;
    this.#draw();
  }

  #draw(): void {
    process.stderr.write(`\r\u001b[K${this.#shown}`);
  }

  /** Draws the last text and leaves the line. */
  end(): void {
    if (this.#shown === "" || !process.stderr.isTTY) return;
    this.#draw();
    process.stderr.write("\n");
    this.#shown = "";
  }

  [Symbol.dispose](): void {
    this.end();
  }
}

export class Progress implements Disposable {
  readonly #shown: boolean;
  readonly #what: string;
  readonly #total: number | undefined;
  readonly #startedAt = performance.now();
  readonly #line = new Line();
  #done = 0;

  constructor(wanted: boolean, what: string, total: number | undefined) {
    this.#shown = wanted;
    this.#what = what;
    this.#total = total;
  }

  add(bytes: number): void {
    this.#done += bytes;
    if (this.#shown) this.#show();
  }

  #show(): void {
    const elapsed = performance.now() - this.#startedAt;
    this.#line.show(progressLine(this.#what, this.#done, this.#total, elapsed));
  }

  /** Draws the last state and leaves the line. */
  [Symbol.dispose](): void {
    if (!this.#shown) return;
    this.#show();
    this.#line.end();
  }
}
