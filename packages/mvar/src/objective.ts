import { customGradient, dims, parseConfig, tf, type Tensor } from '@atelier/tensor';
import { mvarConfig, type MvarSettings } from './config.ts';
import { tokenCount, type ScaleRange } from './ladder.ts';
import { mvarForward, type MvarInputs, type MvarParams } from './model.ts';

/**
 * Cross-entropy of every token in nats: logits [B, n, V], targets [B, n] int32 -> [B, n]. The gradient is softmax - one-hot. The range of the targets is not
 * checked: the one-hot vector of a target outside 0 … V-1 is 0.
 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  const { B, n, V } = dims<'B' | 'n' | 'V'>(logits, 'B n V', 'crossEntropy: logits');
  dims(targets, 'B n', 'crossEntropy: targets', { B, n });
  const hits = (of: Tensor): Tensor => tf.cast(tf.oneHot(of as Parameters<typeof tf.oneHot>[0], V), 'float32');
  return customGradient([logits], (x) => ({
    value: tf.sub(tf.logSumExp(x, 2), tf.sum(tf.mul(x, hits(targets)), 2)),
    kept: [x, targets],
    pullback: (dy, given, wanted) => [tf.mul(tf.sub(tf.softmax(given), hits(wanted)), tf.expandDims(dy, 2))],
  }));
}

export type MvarLoss = {
  /**
   * The mean over the batch of (sum of the cross-entropies of the range)/N, N the tokens of all scales. The losses of all groups add up to the mean
   * per token.
   */
  loss: Tensor;
  /** Cross-entropies of the tokens of the range [B, n]. */
  ce: Tensor;
};

/**
 * The training loss of a range of scales (MVAR trainer.py:239). Every token has the weight 1/N in every group; N counts the tokens of all scales.
 *
 * @param targets tokens of the range [B, n] int32
 */
export function mvarLoss(params: MvarParams, inputs: MvarInputs, targets: Tensor, range: ScaleRange, settings: MvarSettings): MvarLoss {
  const { ladder } = parseConfig(mvarConfig, settings, 'mvarLoss');
  const ce = crossEntropy(mvarForward(params, inputs, range, settings), targets);
  return { loss: tf.div(tf.mean(tf.sum(ce, 1)), tokenCount(ladder)), ce };
}
