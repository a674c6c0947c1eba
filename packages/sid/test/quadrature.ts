/** Points and weights of the Gauss-Hermite rule for a standard normal: Σ weight·f(point) = E f for polynomials of degree below 2n. The zeros of He_n are found by halving intervals. */
export function gaussHermite(n: number): { points: number[]; weights: number[] } {
  const hermite = (degree: number, x: number): number => {
    let [previous, value] = [1, x];
    if (degree === 0) return 1;
    for (let k = 1; k < degree; k++) [previous, value] = [value, x * value - k * previous];
    return value;
  };
  const points: number[] = [];
  const bound = 2 * Math.sqrt(n);
  const cells = 401; // odd, so that no zero of an odd rule lies between two
  for (let i = 0; i < cells; i++) {
    let [low, high] = [-bound + (2 * bound * i) / cells, -bound + (2 * bound * (i + 1)) / cells];
    if (Math.sign(hermite(n, low)) === Math.sign(hermite(n, high))) continue;
    for (let round = 0; round < 80; round++) {
      const middle = (low + high) / 2;
      if (Math.sign(hermite(n, low)) === Math.sign(hermite(n, middle))) low = middle;
      else high = middle;
    }
    points.push((low + high) / 2);
  }
  const factorial = Array.from({ length: n }, (_, i) => i + 1).reduce((a, b) => a * b, 1);
  return { points, weights: points.map((x) => factorial / (n * hermite(n - 1, x)) ** 2) };
}
