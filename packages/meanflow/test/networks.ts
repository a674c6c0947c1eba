import { tf, type Rng, type Tensor } from '@atelier/tensor';
import type { AverageVelocity } from '../src/index.ts';

export type TestParams = { w1: Tensor; b1: Tensor; w2: Tensor; b2: Tensor };

/** A small nonlinear network of z, t, h and of y (through a table of 4 classes). Samples have `size` elements. */
export function testParams(rng: Rng, size: number, width = 16): TestParams {
  const normal = (shape: number[], scale: number): Tensor => tf.tidy(() => tf.mul(rng.normal(shape), scale));
  return { w1: normal([size + 2, width], 0.5), b1: normal([5, width], 0.5), w2: normal([width, size], 0.5), b2: normal([size], 0.5) };
}

export const testNetwork =
  ({ w1, b1, w2, b2 }: TestParams): AverageVelocity =>
  (z, t, h, y) => {
    const batch = z.shape[0]!;
    const input = tf.concat([tf.reshape(z, [batch, -1]), tf.reshape(t, [batch, 1]), tf.reshape(h, [batch, 1])], 1);
    const bias = y === undefined ? tf.slice(b1, [0, 0], [1, -1]) : tf.gather(b1, tf.cast(y, 'int32'));
    const hidden = tf.tanh(tf.add(tf.matMul(input, w1), bias));
    return tf.reshape(tf.add(tf.matMul(hidden, w2), b2), z.shape);
  };

/** A batch of B samples of `shape` with times; the first `equal` rows have r = t. */
export function testBatch(rng: Rng, shape: number[], equal = 0): { x: Tensor; e: Tensor; t: Tensor; r: Tensor; y: Tensor } {
  const batch = shape[0]!;
  const [a, b] = [rng.uniforms(batch), rng.uniforms(batch)];
  const t = a.map((ai, i) => Math.max(ai, b[i]!));
  const r = a.map((ai, i) => (i < equal ? t[i]! : Math.min(ai, b[i]!)));
  return {
    x: rng.normal(shape),
    e: rng.normal(shape),
    t: tf.tensor1d(t),
    r: tf.tensor1d(r),
    y: tf.tensor1d(rng.integers(batch, 0, 4), 'int32'),
  };
}
