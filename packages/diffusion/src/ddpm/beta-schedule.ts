import { checkNumber } from '@atelier/tensor';

/**
 * Noise variances β_t of DiT and DDPM, t = 0 … steps-1: linear from 10⁻⁴ to 0.02 over 1000 steps. For another number of steps both ends are
 * multiplied by 1000/steps (facebookresearch/DiT diffusion/gaussian_diffusion.py:98). Float64.
 *
 * @throws Error below 21 steps, where the last β would reach 1
 */
export function linearBetas(steps = 1000): Float64Array {
  checkNumber('linearBetas: steps', steps, { integer: true, min: 21 });
  const [first, last] = [0.1 / steps, 20 / steps];
  return Float64Array.from({ length: steps }, (_, t) => first + ((last - first) * t) / (steps - 1));
}

/**
 * Noise variances of the cosine schedule (arXiv 2102.09672): with f(u) = cos²(π/2·(u + 0.008)/1.008), β_t = min(1 - f((t + 1)/steps)/f(t/steps), 0.999).
 * Float64.
 */
export function cosineBetas(steps = 1000): Float64Array {
  checkNumber('cosineBetas: steps', steps, { integer: true, min: 1 });
  const f = (u: number): number => Math.cos((Math.PI / 2) * ((u + 0.008) / 1.008)) ** 2;
  return Float64Array.from({ length: steps }, (_, t) => Math.min(1 - f((t + 1) / steps) / f(t / steps), 0.999));
}
