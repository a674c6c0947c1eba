import { dims, tf, type Tensor } from '@atelier/tensor';
import { parseConfig } from '@atelier/nn';
import { mvarConfig, type MvarSettings } from './config.ts';
import { tokenCount, type ScaleRange } from './ladder.ts';
import { mvarForward, type MvarInputs, type MvarParams } from './model.ts';

/**
 * Cross-entropy of every token in nats: logits [B, n, V], targets [B, n] int32 -> [B, n]. The gradient is softmax - one-hot. Targets are not looked at:
 * one outside of 0 … V-1 has no probability of its own.
 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  const { B, n, V } = dims<'B' | 'n' | 'V'>(logits, 'B n V', 'crossEntropy: logits');
  dims(targets, 'B n', 'crossEntropy: targets', { B, n });
  const hits = (of: Tensor): Tensor => tf.cast(tf.oneHot(of as Parameters<typeof tf.oneHot>[0], V), 'float32');
  const custom = tf.customGrad((input, save) => {
    const x = input as Tensor;
    // Targets that were made in the forward pass would not live until the backward pass.
    (save as (tensors: Tensor[]) => void)([x, targets]);
    const value = tf.sub(tf.logSumExp(x, 2), tf.sum(tf.mul(x, hits(targets)), 2));
    return {
      value,
      gradFunc: (dy: Tensor, [kept, wanted]: Tensor[]) => tf.mul(tf.sub(tf.softmax(kept!), hits(wanted!)), tf.expandDims(dy, 2)),
    };
  });
  return custom(logits);
}

export type MvarLoss = {
  /** Mean over the batch of Σ CE over the range, over N, the tokens of all scales: the losses of groups that make up the ladder add up to the mean CE. */
  loss: Tensor;
  /** Cross-entropies [B, n]. */
  ce: Tensor;
};

/**
 * The training loss of a range of scales (MVAR trainer.py:239): every token weighs 1/N whichever group it is trained in, N counting the whole ladder.
 *
 * @param targets tokens of the range [B, n] int32
 */
export function mvarLoss(params: MvarParams, inputs: MvarInputs, targets: Tensor, range: ScaleRange, settings: MvarSettings): MvarLoss {
  const { ladder } = parseConfig(mvarConfig, settings, 'mvarLoss');
  const ce = crossEntropy(mvarForward(params, inputs, range, settings), targets);
  return { loss: tf.div(tf.mean(tf.sum(ce, 1)), tokenCount(ladder)), ce };
}
