import type { GaussianField } from '@atelier/datasets';
import { symmetricSpectrum } from '@atelier/metrics';
import type { DiffusionTables } from '@atelier/diffusion';

/** The best possible denoiser of a Gaussian random field among those whose blocks of `block` × `block` pixels do not see each other. */
export type LinearDenoiser = {
  /** Mean over pixels of E(ε̂ - ε)² at ᾱ: mean_i ᾱλ_i/(ᾱλ_i + 1 - ᾱ), λ the eigenvalues of a block's covariance. */
  error(alphaBar: number): number;
  /** ε̂ = √(1 - ᾱ)·(ᾱC + (1 - ᾱ)I)⁻¹·x of one noisy image x [n, n] flattened. */
  predict(x: ArrayLike<number>, alphaBar: number): Float64Array;
};

/** The denoiser that sees a whole field (`block` = its side), or one window of it at a time. `block` divides the side. */
export function linearDenoiser({ side, covariance }: GaussianField, block: number): LinearDenoiser {
  if (!Number.isInteger(block) || block < 1 || side % block !== 0)
    throw new Error(`linearDenoiser: block: wanted a divisor of the field's side ${side}, got ${block}`);
  const size = block * block;
  const pixel = (i: number): number => Math.floor(i / block) * side + (i % block);
  // The field looks the same everywhere, so the first block's covariance is that of all.
  const inner = Float64Array.from(
    { length: size * size },
    (_, k) => covariance[pixel(Math.floor(k / size)) * side ** 2 + pixel(k % size)]!,
  );
  const { values, vectors } = symmetricSpectrum(inner);
  return {
    error: (alphaBar) => values.reduce((sum, lambda) => sum + (alphaBar * lambda) / (alphaBar * lambda + 1 - alphaBar), 0) / size,
    predict(x, alphaBar) {
      const out = new Float64Array(side * side);
      for (let row = 0; row < side; row += block) {
        for (let column = 0; column < side; column += block) {
          const at = (i: number): number => row * side + column + pixel(i);
          for (let k = 0; k < size; k++) {
            let share = 0;
            for (let i = 0; i < size; i++) share += vectors[i * size + k]! * x[at(i)]!;
            share *= Math.sqrt(1 - alphaBar) / (alphaBar * values[k]! + 1 - alphaBar);
            for (let i = 0; i < size; i++) out[at(i)]! += share * vectors[i * size + k]!;
          }
        }
      }
      return out;
    },
  };
}

/** The times of the evaluation: 1, 3, …, 999. */
export const EVALUATION_TIMES = Array.from({ length: 500 }, (_, i) => 2 * i + 1);

/** The least mean squared error over the times of the evaluation: L_g of the whole field, L_w of windows. */
export function leastError(denoiser: LinearDenoiser, { alphaBar }: DiffusionTables): number {
  return EVALUATION_TIMES.reduce((sum, t) => sum + denoiser.error(alphaBar[t]!), 0) / EVALUATION_TIMES.length;
}
