import { checkNumber, convolution, type ConvolutionParams } from '@atelier/nn';
import { tf, type Tensor } from '@atelier/tensor';

/** Below this ratio Φ is the identity. */
const NONE = 1e-6;

/**
 * Which of the convolutions each of K scales uses (FoundationVision/VAR quant.py:363): the first of the J places spread over [0, 1] that is nearest to
 * l/(K - 1). `shared` is J, and 0 means a convolution for each scale.
 *
 * With K = 10 and J = 4, as released, scales 2 and 7 lie in the middle between two places, and only the rounding of float64 decides: the table is
 * 0, 0, 1, 1, 1, 2, 2, 3, 3, 3.
 */
export function phiIndices(scales: number, shared: number): number[] {
  checkNumber('phiIndices: scales', scales, { integer: true, min: 2 });
  checkNumber('phiIndices: shared', shared, { integer: true, min: 0 });
  const J = shared === 0 ? scales : shared;
  const edge = J === 4 ? 1 / 3 / J : 1 / 2 / J;
  const step = (1 - edge - edge) / (J - 1);
  const places = Array.from({ length: J }, (_, j) => (j === 0 ? edge : j === J - 1 ? 1 - edge : j * step + edge));
  return Array.from({ length: scales }, (_, l) => {
    const distances = places.map((place) => Math.abs(place - l / (scales - 1)));
    return distances.indexOf(Math.min(...distances));
  });
}

/** Number of convolutions that a tokenizer of so many scales has. */
export const phiCount = (scales: number, shared: number): number => (shared === 0 ? scales : shared);

/**
 * Φ(x) = (1 - ρ)x + ρ·(W * x + b), 3 × 3 with zeros outside: [B, H, H, c] -> [B, H, H, c]. It repairs what interpolation of a small map blurs. A ratio ρ of 0
 * makes it the identity, and then no convolution is wanted.
 */
export function phi(p: ConvolutionParams | undefined, x: Tensor, ratio: number): Tensor {
  if (Math.abs(ratio) <= NONE) return x;
  if (p === undefined) throw new Error(`phi: params: wanted a convolution for the ratio ${ratio}, got none`);
  const rho = Math.abs(ratio);
  return tf.add(tf.mul(x, 1 - rho), tf.mul(convolution(p, x, { padding: 1 }), rho));
}
