import { checkNumber } from '@atelier/tensor';

/** Shares of window heads in the first and the last layer; between them the share is a straight line. */
export type HeadRamp = { rho0: number; rho1: number };

/**
 * Progressive coverage channel allocation (PCCA; our reading, see the README): the number of window heads a_l of each of `layers` layers with
 * `heads` heads, first layer first.
 *
 * z_l = h·(ρ₀ + (ρ₁ - ρ₀)·l/(L - 1)), rounded by largest remainders: the total Σ a_l is Σ z_l rounded, so all ramps with the same mean cost the same.
 * A tie goes to the deeper layer. `{ rho0: 1/4, rho1: 3/4 }` over 12 layers of 6 heads gives 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5.
 */
export function allocateHeads(layers: number, heads: number, { rho0, rho1 }: HeadRamp): number[] {
  checkNumber('allocateHeads: layers', layers, { integer: true, min: 1 });
  checkNumber('allocateHeads: heads', heads, { integer: true, min: 1 });
  checkNumber('allocateHeads: rho0', rho0, { min: 0, max: 1 });
  checkNumber('allocateHeads: rho1', rho1, { min: 0, max: 1 });
  const wanted = Array.from({ length: layers }, (_, l) => heads * (layers === 1 ? rho0 : rho0 + ((rho1 - rho0) * l) / (layers - 1)));
  // Whole numbers and ties in exact arithmetic must stay so here, although a share like 1/3 has rounding errors.
  const whole = wanted.map((z) => Math.floor(z + 1e-6));
  const rest = wanted.map((z, l) => Math.round((z - whole[l]!) * 1e5));
  const total = Math.floor(sum(wanted) + 0.5 + 1e-6);
  const first = whole.map((_, l) => l).sort((a, b) => rest[b]! - rest[a]! || b - a);
  for (const l of first.slice(0, total - sum(whole))) whole[l]!++;
  return whole;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
