/** What every benchmark gives back, and how it is shown. */
export interface Measure {
  name: string;
  /** As "tasks/s" or "ms". */
  unit: string;
  ours: number;
  /** The same work by the named baseline, in the same run. */
  baseline: number;
  baselineName: string;
  /** ours / baseline. */
  ratio: number;
  p50Ms?: number;
  p99Ms?: number;
}

export interface How {
  /** Smaller and fewer rounds: to see that it runs, not to quote. */
  short: boolean;
  /** How many objects, where a benchmark is about that. */
  objects?: number;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** `q` of 0.99 is the 99th percentile. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

const digits = (value: number | undefined): string =>
  value === undefined ? "" : value >= 100 ? value.toFixed(0) : value.toPrecision(3);

/** A table for people, or with `json` one object a line. */
export function show(measures: readonly Measure[], json: boolean): string {
  if (json) return measures.map((measure) => `${JSON.stringify(measure)}\n`).join("");
  const rows = measures.map((m) => [
    m.name, m.unit, digits(m.ours), `${digits(m.baseline)} (${m.baselineName})`, m.ratio.toFixed(2), digits(m.p50Ms), digits(m.p99Ms),
  ]); // prettier-ignore
  const table = [["measure", "unit", "ours", "baseline", "ratio", "p50 ms", "p99 ms"], ...rows];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => (row[column] ?? "").length))) ?? [];
  return table
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}
