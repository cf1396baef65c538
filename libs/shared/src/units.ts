/** Durations and sizes as people write them in files. */
const durations: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const sizes: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  K: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

export const durationPattern = "^\\d+(\\.\\d+)?(ms|s|m|h|d)$";
export const sizePattern = "^\\d+(\\.\\d+)?([kKMGT]|[KMGT]i)?B?$";

/** `30s`, `1.5h`, `250ms` → milliseconds; NaN if it is no duration. */
export function durationMs(text: string): number {
  if (!new RegExp(durationPattern).test(text)) return Number.NaN;
  const amount = Number.parseFloat(text);
  return Math.round(amount * (durations[text.replace(/^[\d.]+/, "")] ?? Number.NaN));
}

/** `64Mi`, `1.5G`, `1024` → bytes; NaN if it is no size. */
export function sizeBytes(text: string): number {
  if (!new RegExp(sizePattern).test(text)) return Number.NaN;
  const unit = text.replace(/^[\d.]+/, "").replace(/B$/, "");
  return Math.round(Number.parseFloat(text) * (sizes[unit] ?? Number.NaN));
}
