/** Four significant digits, without trailing zeros: `0.2`, `12.35`, `3.1e-5`. */
export function numberText(value: number): string {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace(/\.?0+e/, 'e');
  return String(Number(value.toPrecision(4)));
}
