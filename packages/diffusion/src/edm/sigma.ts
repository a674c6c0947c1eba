import { checkNumber, dims, tf, type Tensor } from '@atelier/tensor';

/** Range of noise levels and the exponent ρ of the spacing between them. */
export type KarrasOptions = { min?: number; max?: number; rho?: number };

/** The published range, σ from 0.002 to 80 with ρ = 7 (arXiv 2206.00364, table 1). */
export const karras = { min: 0.002, max: 80, rho: 7 } as const;

/**
 * Noise levels of a sampler from the largest down to the smallest, and then 0, steps + 1 in all:
 * σ_i = (σ_max^(1/ρ) + i/(steps-1)·(σ_min^(1/ρ) - σ_max^(1/ρ)))^ρ (Eq. 5, arXiv 2206.00364). Float64, on the host.
 */
export function karrasSigmas(steps: number, options: KarrasOptions = {}): number[] {
  checkNumber('karrasSigmas: steps', steps, { integer: true, min: 1 });
  const { low, high, rho } = ends(options, 'karrasSigmas');
  return [...Array.from({ length: steps }, (_, i) => (high + (steps === 1 ? 0 : i / (steps - 1)) * (low - high)) ** rho), 0];
}

/** The level at a position u in [0, 1] of the same spacing, σ_min at 0 and σ_max at 1: (σ_min^(1/ρ) + u·(σ_max^(1/ρ) - σ_min^(1/ρ)))^ρ, [B] -> [B]. */
export function karrasSigma(position: Tensor, options: KarrasOptions = {}): Tensor {
  dims(position, 'B', 'karrasSigma: position');
  const { low, high, rho } = ends(options, 'karrasSigma');
  return tf.tidy(() => tf.pow(tf.add(tf.mul(position, high - low), low), rho));
}

/** Noise levels of training: ln σ = mean + std·n for standard normals n [B]; the published law has mean -1.2 and std 1.2. */
export function lognormalSigma(normal: Tensor, { mean = -1.2, std = 1.2 }: { mean?: number; std?: number } = {}): Tensor {
  dims(normal, 'B', 'lognormalSigma: normal');
  checkNumber('lognormalSigma: mean', mean);
  checkNumber('lognormalSigma: std', std, { above: 0 });
  return tf.tidy(() => tf.exp(tf.add(tf.mul(normal, std), mean)));
}

function ends({ min = karras.min, max = karras.max, rho = karras.rho }: KarrasOptions, where: string) {
  checkNumber(`${where}: min`, min, { above: 0 });
  checkNumber(`${where}: max`, max, { min });
  checkNumber(`${where}: rho`, rho, { above: 0 });
  return { low: min ** (1 / rho), high: max ** (1 / rho), rho };
}
