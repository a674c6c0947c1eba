import { tf, type Tensor } from './tf.ts';
import { isTensor } from './tree.ts';

/** Reshapes one number per sample, [B], to [B, 1, …, 1], so that it broadcasts over the samples of `like` [B, …]. */
export function perSample(a: Tensor, like: Tensor): Tensor {
  return tf.reshape(a, [a.shape[0]!, ...Array.from({ length: like.rank - 1 }, () => 1)]);
}

/** Throws unless both tensors are batches [B, …] of equal shape, with at least two axes. `names` are their names in the message. */
export function checkPair(first: Tensor, second: Tensor, where: string, names: readonly [first: string, second: string]): void {
  checkBatch(first, `${where}: ${names[0]}`);
  checkLike(second, first, `${where}: ${names[1]}`);
}

/** Throws unless `x` is a batch [B, …] with at least two axes. */
export function checkBatch(x: Tensor, where: string): void {
  if (!isTensor(x) || x.rank < 2) throw new Error(`${where}: wanted a batch [B, …] of rank 2 or more, got ${describe(x)}`);
}

/** Throws unless `value` has the shape of `like`. */
export function checkLike(value: Tensor, like: Tensor, where: string): void {
  const same = isTensor(value) && value.shape.length === like.shape.length && value.shape.every((size, i) => size === like.shape[i]);
  if (!same) throw new Error(`${where}: wanted shape [${like.shape.join(', ')}], got ${describe(value)}`);
}

const describe = (value: unknown): string => (isTensor(value) ? `[${value.shape.join(', ')}]` : value === null ? 'null' : typeof value);
