import { tf, treeMap, type Tensor, type Tree } from '@atelier/tensor';

/** Tokens first … first + count - 1 of x [B, T, …], or along another axis. */
export function tokens(x: Tensor, first: number, count: number, axis = 1): Tensor {
  if (first === 0 && count === x.shape[axis]) return x;
  const begin = x.shape.map((_, i) => (i === axis ? first : 0));
  return tf.slice(
    x,
    begin,
    x.shape.map((size, i) => (i === axis ? count : size)),
  );
}

/** The same tokens of every leaf. */
export function tokensOf<T extends Tree>(tree: T, first: number, count: number, axis = 1): T {
  return treeMap((leaf) => tokens(leaf, first, count, axis), tree);
}

/** The tokens of every leaf at the places `index` [s] int32. */
export function gatherTokens<T extends Tree>(tree: T, index: Tensor, axis = 1): T {
  return treeMap((leaf) => tf.gather(leaf, index as never, axis), tree);
}

/** The cache of the tokens of a segment, concatenated after the cache of the tokens before. */
export function appended<C extends Tree>(past: C | undefined, own: C, axis: number): C {
  return past === undefined ? own : treeMap((leaf, _, before) => tf.concat([before!, leaf], axis), own, past);
}
