import { checkNumber } from '@atelier/nn';
import { dims, tf, type Tensor } from '@atelier/tensor';

export type Filter = {
  /** Only the k largest logits stay, and all that equal the k-th; 0 for all. */
  topK?: number;
  /** Only the most likely tokens stay that together have the probability p, and at least one; 0 for all. */
  topP?: number;
};

/** @throws Error unless k is a whole number from 0 to V and p lies in [0, 1] */
export function checkFilter({ topK = 0, topP = 0 }: Filter, codes: number, where: string): void {
  checkNumber(`${where}: topK`, topK, { integer: true, min: 0, max: codes });
  checkNumber(`${where}: topP`, topP, { min: 0, max: 1 });
}

/**
 * Logits [B, n, V] with -∞ where a token is not to be drawn: first all below the k-th largest, then, by the probabilities of what is left, the least likely
 * ones whose sum is at most 1 - p, but never the most likely (`sample_with_top_k_top_p_`). Of tokens with the logit of the least likely one that stays,
 * all stay.
 */
export function filterLogits(logits: Tensor, { topK = 0, topP = 0 }: Filter): Tensor {
  const { V } = dims<'V'>(logits, 'B n V', 'filterLogits: logits');
  checkFilter({ topK, topP }, V, 'filterLogits');
  let kept = logits;
  if (topK > 0 && topK < V) kept = atLeast(kept, lastOf(tf.topk(kept, topK).values));
  if (topP === 0) return kept;
  // Largest first: a token goes if what is not above it, itself among it, has at most 1 - p.
  const { values } = tf.topk(kept, V);
  const probability = tf.softmax(values);
  const above = tf.cumsum(probability, 2, true); // -> of all that come before
  const removed = tf.lessEqual(tf.sub(1, above), 1 - topP);
  // The first always stays; the others go one after the other from the end, so the least one that stays is the smallest of those that stay.
  const never = tf.concat([tf.zeros([1, 1, 1]), tf.ones([1, 1, V - 1])], 2);
  const gone = tf.logicalAnd(removed, tf.cast(never, 'bool'));
  const least = tf.min(tf.where(gone, tf.slice(values, [0, 0, 0], [-1, -1, 1]), values), -1, true);
  return atLeast(kept, least);
}

const lastOf = (x: Tensor): Tensor => tf.slice(x, [0, 0, x.shape[2]! - 1], [-1, -1, 1]);
const atLeast = (logits: Tensor, least: Tensor): Tensor => tf.where(tf.greaterEqual(logits, least), logits, -Infinity);

/**
 * One token of every distribution softmax(logits [B, n, V]) by uniform numbers u [B, n] in [0, 1): the first whose cumulative probability is above u. A token
 * with the logit -∞ is never drawn.
 */
export function drawTokens(logits: Tensor, uniform: Tensor): Tensor {
  const { B, n } = dims<'B' | 'n'>(logits, 'B n V', 'drawTokens: logits');
  dims(uniform, 'B n', 'drawTokens: uniform', { B, n });
  const sums = tf.cumsum(tf.softmax(logits), 2); // -> [B, n, V]
  const level = tf.mul(lastOf(sums), tf.reshape(uniform, [B, n, 1]));
  return tf.sum(tf.cast(tf.lessEqual(sums, level), 'int32'), 2);
}

/**
 * softmax((logits - log e)/τ) with e [B, n, V] drawn from the exponential distribution of mean 1: a soft choice, and the harder the smaller τ
 * (`gumbel_softmax_with_rng`). -> probabilities [B, n, V]
 */
export function gumbelSoftmax(logits: Tensor, exponential: Tensor, tau: number): Tensor {
  checkNumber('gumbelSoftmax: tau', tau, { above: 0 });
  return tf.softmax(tf.div(tf.sub(logits, tf.log(exponential)), tau));
}
