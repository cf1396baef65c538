/** A row of numbers as a row of bars. */
const bars = "▁▂▃▄▅▆▇█";

/**
 * The last `width` values as bars, between 0 and `most`, or the greatest of them.
 * Nothing is shown as the lowest bar, so that a gap is no zero: leave it out.
 */
export function sparkline(values: readonly number[], width: number, most?: number): string {
  const shown = values.slice(-width);
  const top = most ?? Math.max(...shown, 0);
  return shown
    .map((value) => {
      const part = top > 0 ? Math.min(1, Math.max(0, value / top)) : 0;
      return bars[Math.round(part * (bars.length - 1))] ?? "";
    })
    .join("");
}
