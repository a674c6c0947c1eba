import { expect, it } from 'vitest';
import { gaussHermite } from './quadrature.ts';

/**
 * Mean gradients of the generator's loss on a Gaussian, in plain numbers (section "Gaussian closed form" of the specification): data N(mu, s²), generator b + a·z,
 * level σ, fake score optimal and held fixed, weight 1.
 */
function meanGradients(
  alpha: number,
  { mu, s, b, a, sigma }: Record<'mu' | 's' | 'b' | 'a' | 'sigma', number>,
): { db: number; da: number } {
  const [p, q] = [s ** 2 / (s ** 2 + sigma ** 2), a ** 2 / (a ** 2 + sigma ** 2)];
  const m = (1 - p) * (mu - b);
  return {
    db: -m * (1 - p + (2 * alpha - 1) * (p - q)),
    da: -2 * a * (p - q) * (1 - p + alpha * (p - q)),
  };
}

it('both mean gradients point to the data at every p and q if and only if α lies in [1/2, 1]', () => {
  const good = (alpha: number): boolean => {
    for (let i = 1; i < 40; i++)
      for (let j = 1; j < 40; j++) {
        if (i === j) continue;
        // σ = 1: s² = p/(1 - p), a² = q/(1 - q).
        const [p, q] = [i / 40, j / 40];
        const [s, a] = [Math.sqrt(p / (1 - p)), Math.sqrt(q / (1 - q))];
        const { db, da } = meanGradients(alpha, { mu: 1, s, b: 0, a, sigma: 1 });
        if (db >= 0 || Math.sign(da) !== Math.sign(a - s)) return false;
      }
    return true;
  };
  for (const alpha of [0.5, 0.75, 1]) expect(good(alpha)).toBe(true);
  for (const alpha of [0, 0.4, 1.2, 2]) expect(good(alpha)).toBe(false);
});

it('descent along them reaches the data for α up to 1.2 and runs away above', () => {
  const [mu, s] = [0.3, 0.5];
  // σ from the law of matching, at fixed places of its uniform.
  const sigmas = Array.from(
    { length: 64 },
    (_, i) => (0.002 ** (1 / 7) + ((i + 0.5) / 64) * 0.8 * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7,
  );
  const descend = (alpha: number, [b, a]: readonly [number, number]): { b: number; a: number } => {
    for (let step = 0; step < 6000 && Math.abs(a) < 1e3 && Math.abs(b) < 1e3; step++) {
      const mean = sigmas
        .map((sigma) => meanGradients(alpha, { mu, s, b, a, sigma }))
        .reduce((x, y) => ({ db: x.db + y.db, da: x.da + y.da }));
      b -= (0.02 * mean.db) / 64;
      a -= (0.02 * mean.da) / 64;
    }
    return { b, a };
  };
  const starts = [[2, 0.05], [2, 0.3], [0, 2], [1, 6]] as const; // prettier-ignore
  for (const alpha of [0, 0.5, 1, 1.2])
    for (const start of starts) {
      const { b, a } = descend(alpha, start);
      expect(Math.abs(b - mu)).toBeLessThan(1e-3);
      expect(Math.abs(a - s)).toBeLessThan(1e-3);
    }
  const far = ({ b, a }: { b: number; a: number }): number => Math.abs(b - mu) + Math.abs(a - s);
  expect(far(descend(1.5, [1, 6]))).toBeGreaterThan(5);
  expect(far(descend(2, [0, 2]))).toBeGreaterThan(1);
  expect(far(descend(2, [1, 6]))).toBeGreaterThan(5);
});

it('the quadrature is exact for the moments that the closed forms need', () => {
  const { points, weights } = gaussHermite(5);
  const moment = (k: number): number => points.reduce((sum, x, i) => sum + weights[i]! * x ** k, 0);
  [1, 0, 1, 0, 3, 0, 15].forEach((wanted, k) => expect(moment(k)).toBeCloseTo(wanted, 10));
});
