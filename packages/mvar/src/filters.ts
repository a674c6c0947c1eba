import { checkNumber, dims, tf, type Tensor } from '@atelier/tensor';

export type Filter = {
  /** Keeps only the k largest logits, and all that are equal to the k-th; 0 keeps all. */
  topK?: number;
  /** Keeps only the smallest set of most likely tokens whose probabilities add up to at least p, and always one; 0 keeps all. */
  topP?: number;
};

/** @throws Error unless k is a whole number from 0 to V and p lies in [0, 1] */
export function checkFilter({ topK = 0, topP = 0 }: Filter, codes: number, where: string): void {
  checkNumber(`${where}: topK`, topK, { integer: true, min: 0, max: codes });
  checkNumber(`${where}: topP`, topP, { min: 0, max: 1 });
}

/**
 * Sets the logits [B, n, V] of tokens that must not be drawn to -∞. First all that are below the k-th largest. Then, with the probabilities of the
 * rest, the least likely ones as long as their sum is at most 1 - p, but never the most likely one (`sample_with_top_k_top_p_` in
 * FoundationVision/VAR). If several tokens tie at the limit, all of them stay.
 */
export function filterLogits(logits: Tensor, { topK = 0, topP = 0 }: Filter): Tensor {
  const { V } = dims<'V'>(logits, 'B n V', 'filterLogits: logits');
  checkFilter({ topK, topP }, V, 'filterLogits');
  let kept = logits;
  if (topK > 0 && topK < V) kept = atLeast(kept, lastOf(tf.topk(kept, topK).values));
  if (topP === 0) return kept;
  // Sorted, largest first. A token is removed if it and all smaller ones together have at most the probability 1 - p.
  const { values } = tf.topk(kept, V);
  const probability = tf.softmax(values);
  const above = tf.cumsum(probability, 2, true); // -> sum of all larger ones
  const removed = tf.lessEqual(tf.sub(1, above), 1 - topP);
  // The first one always stays. The smallest logit that stays is the threshold.
  const mayGo = tf.concat([tf.zeros([1, 1, 1]), tf.ones([1, 1, V - 1])], 2);
  const gone = tf.logicalAnd(removed, tf.cast(mayGo, 'bool'));
  const least = tf.min(tf.where(gone, tf.slice(values, [0, 0, 0], [-1, -1, 1]), values), -1, true);
  return atLeast(kept, least);
}

const lastOf = (x: Tensor): Tensor => tf.slice(x, [0, 0, x.shape[2]! - 1], [-1, -1, 1]);
const atLeast = (logits: Tensor, least: Tensor): Tensor => tf.where(tf.greaterEqual(logits, least), logits, -Infinity);

/**
 * Draws one token from every distribution softmax(logits [B, n, V]), with uniform numbers u [B, n] in [0, 1): the first token whose cumulative probability is
 * above u -> [B, n] int32. A token with the logit -∞ is never drawn.
 */
export function drawTokens(logits: Tensor, uniform: Tensor): Tensor {
  const { B, n } = dims<'B' | 'n'>(logits, 'B n V', 'drawTokens: logits');
  dims(uniform, 'B n', 'drawTokens: uniform', { B, n });
  const sums = tf.cumsum(tf.softmax(logits), 2); // -> [B, n, V]
  const level = tf.mul(lastOf(sums), tf.reshape(uniform, [B, n, 1]));
  return tf.sum(tf.cast(tf.lessEqual(sums, level), 'int32'), 2);
}

/**
 * softmax((logits - log e)/τ) with e [B, n, V] from the exponential distribution of mean 1 (-log e is then Gumbel noise): a soft choice of a token,
 * which is nearer to one-hot the smaller τ is (`gumbel_softmax_with_rng` in FoundationVision/VAR). -> weights [B, n, V] that sum to 1
 */
export function gumbelSoftmax(logits: Tensor, exponential: Tensor, tau: number): Tensor {
  checkNumber('gumbelSoftmax: tau', tau, { above: 0 });
  return tf.softmax(tf.div(tf.sub(logits, tf.log(exponential)), tau));
}
