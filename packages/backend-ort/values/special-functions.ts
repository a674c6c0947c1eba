/** Functions that JavaScript lacks, in float64. */

/** e^(x²) erfc(x) for x ≥ 1, from the continued fraction of Laplace, evaluated from its end. */
function scaledComplement(x: number): number {
  let rest = 0;
  for (let k = 200; k >= 1; k--) rest = k / 2 / (x + rest);
  return 1 / (Math.sqrt(Math.PI) * (x + rest));
}

/** erf(x) = 2/√π e^(-x²) Σ 2ⁿ x^(2n+1) / (2n+1)!!: all terms have the sign of x, so nothing cancels. */
function series(x: number): number {
  let [term, sum] = [x, x];
  for (let n = 1; n < 200 && Math.abs(term) > 1e-17 * Math.abs(sum); n++) sum += term *= (2 * x * x) / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

export function erf(x: number): number {
  if (Number.isNaN(x) || x === 0) return x;
  if (Math.abs(x) < 2) return series(x);
  return Math.sign(x) * (1 - complement(Math.abs(x)));
}

/** erfc(x) for x ≥ 0. */
function complement(x: number): number {
  if (x === Infinity) return 0;
  return x < 2 ? 1 - series(x) : Math.exp(-x * x) * scaledComplement(x);
}

/** The cumulative distribution function of the standard normal, with all digits also far below 0. */
export const normalDistribution = (x: number): number =>
  x >= 0 ? 0.5 + 0.5 * erf(x / Math.SQRT2) : x > -2 * Math.SQRT2 ? 0.5 - 0.5 * series(-x / Math.SQRT2) : 0.5 * complement(-x / Math.SQRT2);

/** Half of the time the nearest whole number is not unique: then the even one. */
export function roundHalfToEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return rest < 0.5 ? low : Math.ceil(x);
  return low % 2 === 0 ? low : Math.ceil(x);
}
