import type { DiffusionTables, Variance } from '../src/index.ts';

// The reverse process in float64, written from its equations; it needs only β.

/** α_k, ᾱ_k, ᾱ_{k-1}, β_k and β̃_k. */
export function hostStep(tables: DiffusionTables, k: number) {
  const product = (to: number): number => Array.from(tables.betas.slice(0, to + 1)).reduce((bar, beta) => bar * (1 - beta), 1);
  const [beta, bar, previous] = [tables.betas[k]!, product(k), product(k - 1)];
  return { alpha: 1 - beta, beta, bar, previous, tilde: (beta * (1 - previous)) / (1 - bar) };
}

/** log β̃_k; at step 0 the value of step 1. */
export const hostLogTilde = (tables: DiffusionTables, k: number): number => Math.log(hostStep(tables, Math.max(k, 1)).tilde);

export const hostX0 = (tables: DiffusionTables, k: number, x: number, epsilon: number): number => {
  const { bar } = hostStep(tables, k);
  return (x - Math.sqrt(1 - bar) * epsilon) / Math.sqrt(bar);
};

/** Mean of q(x_{k-1} | x_k, x₀): the product of two Gaussians, with precisions 1/(1 - ᾱ_{k-1}) and α/β. */
export function hostPosteriorMean(tables: DiffusionTables, k: number, x0: number, x: number): number {
  const { alpha, beta, previous } = hostStep(tables, k);
  if (previous === 1) return x0;
  const [fromData, fromNext] = [1 / (1 - previous), alpha / beta];
  return (fromData * Math.sqrt(previous) * x0 + fromNext * (x / Math.sqrt(alpha))) / (fromData + fromNext);
}

export function hostLogVariance(tables: DiffusionTables, k: number, variance: Variance, v: number): number {
  if (variance === 'small') return hostLogTilde(tables, k);
  if (variance === 'large') return k === 0 ? hostLogTilde(tables, 0) : Math.log(tables.betas[k]!);
  return ((v + 1) / 2) * Math.log(tables.betas[k]!) + ((1 - v) / 2) * hostLogTilde(tables, k);
}

const phi = (z: number): number => 0.5 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)));

/** Log-probability of the bin of x, in nats. */
export function hostBinLogLikelihood(x: number, mean: number, logVariance: number): number {
  const inverse = Math.exp(-0.5 * logVariance);
  const [below, above] = [phi((x - mean - 1 / 255) * inverse), phi((x - mean + 1 / 255) * inverse)];
  const probability = x < -0.999 ? above : x > 0.999 ? 1 - below : above - below;
  return Math.log(Math.max(probability, 1e-12));
}

export const hostKl = (m1: number, l1: number, m2: number, l2: number): number =>
  0.5 * (l2 - l1 - 1 + Math.exp(l1 - l2) + (m1 - m2) ** 2 * Math.exp(-l2));
