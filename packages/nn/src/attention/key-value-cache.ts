import { tf, type Tensor } from '@atelier/tensor';

// Attention token by token: keys and values of earlier tokens are kept. A loop that is one graph needs tensors of fixed size, so the tokens that it
// makes itself lie in a window that moves on by one at every token, and those made before the loop lie still.

/** Keys and values of a layer, [R, 1, K, t, d]: a row for each branch of each sample. */
export type KeyValueCache = { keys: Tensor; values: Tensor };

/**
 * Attention of the newest token, q [R, 1, K, 1, d], to the tokens of the window that there are already and to `old` ones before it -> [R, 1, K, 1, d].
 *
 * @param mask a row of `windowMask`, which the logits of the window stay below
 */
export function attendCached(q: Tensor, window: KeyValueCache, old: KeyValueCache | undefined, mask: Tensor, scale: number): Tensor {
  const near = tf.minimum(tf.mul(tf.matMul(q, window.keys, false, true), scale), mask); // -> [R, 1, K, 1, window]
  if (old === undefined) return tf.matMul(tf.softmax(near), window.values);
  const far = tf.mul(tf.matMul(q, old.keys, false, true), scale); // -> [R, 1, K, 1, t]
  const weights = tf.softmax(tf.concat([far, near], 4));
  const [ofOld, ofWindow] = tf.split(weights, [far.shape[4]!, near.shape[4]!], 4) as [Tensor, Tensor];
  return tf.add(tf.matMul(ofOld, old.values), tf.matMul(ofWindow, window.values)); // -> [R, 1, K, 1, d]
}

/** The window moved on by one token: the newest stands last. */
export function pushKeyValue(window: Tensor, newest: Tensor): Tensor {
  const [R, , K, size, d] = window.shape as [number, number, number, number, number];
  return size === 1 ? newest : tf.concat([tf.slice(window, [0, 0, 0, 1, 0], [R, 1, K, size - 1, d]), newest], 3);
}

/** Keys and values of earlier tokens followed by those of later ones. */
export const joinKeyValues = (a: KeyValueCache, b: KeyValueCache): KeyValueCache => ({
  keys: tf.concat([a.keys, b.keys], 3),
  values: tf.concat([a.values, b.values], 3),
});

/** What the logits of step i stay below, one row for each step: -∞ but for the last i + 1 places of the window, which are filled. */
export function windowMask(size: number): Tensor {
  const values = Float32Array.from({ length: size * size }, (_, at) =>
    at % size < size - 1 - Math.floor(at / size) ? -Infinity : Infinity,
  );
  return tf.tensor2d(values, [size, size]);
}
