import { convolution, type ConvolutionParams } from '@atelier/nn';
import { checkNumber, tf, type Tensor } from '@atelier/tensor';

/** Up to this |ratio| Φ is the identity. */
const NONE = 1e-6;

/**
 * Which convolution each of the K scales uses (FoundationVision/VAR quant.py:363). The J convolutions stand at J equally spaced places in [0, 1]; scale l
 * stands at l/(K - 1) and takes the nearest one, the first of two at the same distance. `shared` is J, and 0 means a convolution for each scale.
 *
 * In the released tokenizer, K = 10 and J = 4. There scales 2 and 7 are halfway between two places, and only the rounding of float64 decides, so the places
 * are computed exactly as in the official code. The table is 0, 0, 1, 1, 1, 2, 2, 3, 3, 3.
 */
export function phiIndices(scales: number, shared: number): number[] {
  checkNumber('phiIndices: scales', scales, { integer: true, min: 2 });
  checkNumber('phiIndices: shared', shared, { integer: true, min: 0 });
  const J = shared === 0 ? scales : shared;
  // Distance of the first and last place from the ends of [0, 1]; 4 has a special value in the official code.
  const edge = J === 4 ? 1 / 3 / J : 1 / 2 / J;
  const step = (1 - edge - edge) / (J - 1);
  const places = Array.from({ length: J }, (_, j) => (j === 0 ? edge : j === J - 1 ? 1 - edge : j * step + edge));
  return Array.from({ length: scales }, (_, l) => {
    const distances = places.map((place) => Math.abs(place - l / (scales - 1)));
    return distances.indexOf(Math.min(...distances));
  });
}

/** Number of convolutions that a tokenizer with this many scales has. */
export const phiCount = (scales: number, shared: number): number => (shared === 0 ? scales : shared);

/**
 * Φ(x) = (1 - ρ)·x + ρ·(W * x + b), with a 3 × 3 convolution that reads zeros outside: [B, H, H, c] -> [B, H, H, c]. It sharpens what the enlargement of a
 * small map blurs. ρ is |ratio|, as in the official code. With a ratio of 0, Φ is the identity and needs no convolution.
 */
export function phi(p: ConvolutionParams | undefined, x: Tensor, ratio: number): Tensor {
  if (Math.abs(ratio) <= NONE) return x;
  if (p === undefined) throw new Error(`phi: params: wanted a convolution for the ratio ${ratio}, got none`);
  const rho = Math.abs(ratio);
  return tf.add(tf.mul(x, 1 - rho), tf.mul(convolution(p, x, { padding: 1 }), rho));
}
