import { compile, parseConfig, type Tensor, tf } from '@atelier/tensor';
import { tarflowConfig, tokenSizes, type BlockParams, type TarFlow, type TarFlowSettings } from '@atelier/tarflow';
import { shiftedOutputs, throughBlocks } from './data-pass.ts';

/** Means of α and μ of a block over some images, shifted and in the block's own order [T, D]; both 0 for token 0. */
export type BlockMeans = { alpha: Tensor; mu: Tensor };

/**
 * What the guess `mean` starts from, for every block k = 0 … K - 1: X⁰ = exp(ᾱ)⊙Z + μ̄ with the mean log-scale and shift of each token over the
 * images x [n, H, W, C]. It is not in the paper. If the conditioner depends little on the single image, this guess saves an iteration or two; if it depends
 * much on it, the guess is worse than the noise itself. Samples of the model give better means than training images.
 *
 * The tensors belong to the caller.
 */
export function meanGuesses(
  model: TarFlow,
  x: Tensor,
  settings: TarFlowSettings,
  options: { y?: Tensor; batch?: number } = {},
): BlockMeans[] {
  const where = 'meanGuesses';
  const config = parseConfig(tarflowConfig, settings, where);
  const { y, batch = 16 } = options;
  const { T, D } = tokenSizes(config);
  const pass = compile(
    (p: BlockParams, input: Tensor, context: Tensor, share: Tensor, sums: BlockMeans) => {
      const { alpha, mu } = shiftedOutputs(p, input, config, context);
      const added = (sum: Tensor, values: Tensor): Tensor => tf.add(sum, tf.mul(tf.sum(values, 0), share));
      return { z: tf.mul(tf.sub(input, mu), tf.exp(tf.neg(alpha))), sums: { alpha: added(sums.alpha, alpha), mu: added(sums.mu, mu) } };
    },
    { donate: [4], name: 'mean-guesses', idle: 'sleep' },
  );
  const means: BlockMeans[] = [];
  throughBlocks(model, x, config, { y, batch, where }, ({ k, params, input, context, n }) => {
    const before = means[k] ?? { alpha: tf.zeros([T, D]), mu: tf.zeros([T, D]) };
    const { z, sums } = pass(params, input, context, tf.scalar(1 / n), before);
    means[k] = { alpha: tf.keep(sums.alpha), mu: tf.keep(sums.mu) };
    return z;
  });
  pass.dispose();
  return means;
}
