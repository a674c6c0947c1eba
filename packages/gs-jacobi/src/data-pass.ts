import { checkNumber, dims, type Tensor, tf } from '@atelier/tensor';
import {
  checkLabelRange,
  checkLabels,
  checkModel,
  conditioner,
  patchify,
  permute,
  shiftByOne,
  tokenContext,
  type BlockParams,
  type TarFlow,
  type TarFlowConfig,
} from '@atelier/tarflow';

/** α and μ of a block at the tokens `at` [B, T, D], shifted, in the block's own order. */
export function shiftedOutputs(p: BlockParams, at: Tensor, config: TarFlowConfig, context: Tensor): { alpha: Tensor; mu: Tensor } {
  const raw = conditioner(p, at, config, { context });
  return { alpha: shiftByOne(raw.alpha), mu: shiftByOne(raw.mu) };
}

/**
 * Sends images x [n, H, W, C] through the blocks from data to noise, some at a time. `visit` gets the input [b, T, D] of a block and its context in the
 * block's own order, runs in a tidy, and returns the output in that order.
 */
export function throughBlocks(
  model: TarFlow,
  x: Tensor,
  config: TarFlowConfig,
  { y, batch, where }: { y?: Tensor | undefined; batch: number; where: string },
  visit: (block: { k: number; params: BlockParams; input: Tensor; context: Tensor; n: number }) => Tensor,
): void {
  checkNumber(`${where}: batch`, batch, { integer: true, min: 1 });
  checkModel(model, config, where);
  const [H, W] = config.imageSize;
  if (x.shape[0] === 0) throw new Error(`${where}: x: wanted at least one image, got none`);
  const { n } = dims<'n'>(x, 'n H W C', `${where}: x`, { H, W, C: config.inChannels });
  checkLabels(y, n, config, where);
  checkLabelRange(y, config, where);
  for (let at = 0; at < n; at += batch) {
    const rows = Math.min(batch, n - at);
    const labels = y && tf.slice(y, [at], [rows]);
    let z = tf.tidy(() => patchify(tf.slice(x, [at, 0, 0, 0], [rows, -1, -1, -1]), config.patchSize));
    model.blocks.forEach((params, k) => {
      const before = z;
      z = tf.tidy(() => permute(visit({ k, params, input: permute(before, k), context: tokenContext(params, k, labels), n }), k).clone());
      before.dispose();
    });
    tf.dispose([z, ...(labels ? [labels] : [])]);
  }
}
