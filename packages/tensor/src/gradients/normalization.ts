import { tf, type Tensor } from '../tfjs.ts';
import { gradient, type Gradient } from './gradient.ts';
import { sumTo } from './sum-to.ts';

/**
 * For each element of the last axis, the sum of the elements at a distance of at most `radius`. It is a product with a band matrix of ones.
 */
function bandSum(x: Tensor, radius: number): Tensor {
  const C = x.shape.at(-1)!;
  const band = tf.tensor2d(
    Array.from({ length: C * C }, (_, i) => Number(Math.abs(Math.floor(i / C) - (i % C)) <= radius)),
    [C, C],
  );
  return tf.reshape(tf.matMul(tf.reshape(x, [-1, C]), band), x.shape);
}

type Response = { depthRadius: number; bias: number; alpha: number; beta: number };

/** Derivatives of batch normalization with given mean and variance, and of local response normalization. */
export const normalization = (): Gradient[] => [
  gradient(
    'FusedBatchNorm',
    ['x', 'mean', 'variance', 'scale'],
    (dy, [x, mean, variance, scale], { varianceEpsilon }: { varianceEpsilon: number }) => {
      const inverse = (): Tensor => tf.rsqrt(tf.add(variance!, varianceEpsilon));
      const scaled = (): Tensor => tf.mul(dy, tf.mul(inverse(), scale!));
      const centred = (): Tensor => tf.sub(x!, mean!);
      return {
        x: () => sumTo(scaled(), x!.shape),
        mean: () => tf.neg(sumTo(scaled(), mean!.shape)),
        variance: () => sumTo(tf.mul(tf.mul(scaled(), centred()), tf.mul(tf.square(inverse()), -0.5)), variance!.shape),
        scale: () => sumTo(tf.mul(dy, tf.mul(centred(), inverse())), scale!.shape),
        offset: () => sumTo(dy, mean!.shape),
      };
    },
  ),
  // With y = x·n^-β and n = bias + α·Σ x² over the neighbours: dx = dy·n^-β - 2αβ·x·Σ dy·x·n^(-β-1).
  gradient('LRN', ['x'], (dy, [x], { depthRadius, bias, alpha, beta }: Response) => ({
    x: () => {
      const n = tf.add(tf.mul(bandSum(tf.square(x!), depthRadius), alpha), bias);
      const others = bandSum(tf.mul(dy, tf.mul(x!, tf.pow(n, -beta - 1))), depthRadius);
      return tf.sub(tf.mul(dy, tf.pow(n, -beta)), tf.mul(tf.mul(x!, 2 * alpha * beta), others));
    },
  })),
];
