/** The powers of ten from just below the least value to just above the greatest. */
export function decades(values: readonly number[]): number[] {
  const low = Math.floor(Math.log10(values.reduce((a, b) => Math.min(a, b))));
  const high = Math.max(low + 1, Math.ceil(Math.log10(values.reduce((a, b) => Math.max(a, b)))));
  return Array.from({ length: high - low + 1 }, (_, i) => Number(`1e${low + i}`));
}

/** Short numbers for axes: `0.25`, `1500`, `20k`, `3e-4`. */
export function tickText(value: unknown): string {
  const number = Number(value);
  const size = Math.abs(number);
  if (number !== 0 && size < 1e-3) return number.toExponential(0);
  if (size >= 1e6) return `${Number((number / 1e6).toPrecision(3))}M`;
  return size >= 1e4 ? `${Number((number / 1e3).toPrecision(3))}k` : String(Number(number.toPrecision(4)));
}
