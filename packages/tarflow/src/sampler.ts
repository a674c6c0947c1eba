import type { Sampler } from '@atelier/diffusion';
import { compile, dims, parseConfig, type Tensor, tf } from '@atelier/tensor';
import { permute, tokenContext, type BlockParams } from './block.ts';
import { tarflowConfig, tokenSizes, type TarFlowSettings } from './config.ts';
import { blockGuidance, guidanceWarnings, readGuidance, type Guidance, type GuidanceOptions } from './guidance.ts';
import { checkLabelRange, checkLabels, checkModel, type TarFlow } from './model.ts';
import { unpatchify } from './patch.ts';
import { reverseBlock } from './sequential.ts';

export type SampleOptions = {
  /** Labels [B] int32 in -1 … N-1, where -1 means no label; absent if no sample has a label. */
  y?: Tensor;
  guidance?: GuidanceOptions;
};

export type Sample = {
  /** Images [B, H, W, C]; near [-1, 1], not clipped. */
  images: Tensor;
  /** Sentences about options that had no effect. */
  warnings: string[];
};

/** Output of an inverted block as images [B, H, W, C]; the scaled noise counts as the output of block K. */
export type SequentialStep = { block: number; images: Tensor };

/** One graph for each batch size, with and without guidance, serves all blocks. */
export type SequentialSampler = Sampler<TarFlow, SampleOptions, SequentialStep, Sample>;

/**
 * The exact sampler: noise ε [B, T, D] ~ N(0, I) -> images, block by block from the last to the first, starting at ε·√var.
 *
 * Guidance on a model without classes, or without labels, compares the null class with itself: it does something only if its attention
 * temperature is not 1. Otherwise the sample says so in `warnings`.
 * @throws Error if labels are out of range, or if noise, labels or model do not fit the settings
 */
export function sequentialSampler(settings: TarFlowSettings): SequentialSampler {
  const where = 'sequentialSampler';
  const config = parseConfig(tarflowConfig, settings, where);
  const { T, D } = tokenSizes(config);
  const invert = compile(
    (p: BlockParams, z: Tensor, context: Tensor, ...guidance: Guidance[]) =>
      reverseBlock(p, z, config, { context, ...(guidance[0] && { guidance: guidance[0] }) }),
    { name: 'tarflow-sequential' },
  );
  /** The output z [B, T, D] of every block from K (the scaled noise) down to 0. Each is disposed when the next one is asked for. */
  function* walk(model: TarFlow, noise: Tensor, { y, guidance: wanted }: SampleOptions): Generator<{ block: number; z: Tensor }> {
    checkModel(model, config, where);
    const { B } = dims<'B'>(noise, 'B T D', `${where}: noise`, { T, D });
    checkLabels(y, B, config, where);
    checkLabelRange(y, config, where);
    const guidance = readGuidance(wanted, where);
    let z: Tensor = tf.tidy(() => tf.mul(noise, tf.sqrt(model.var)));
    try {
      yield { block: config.blocks, z };
      for (let k = config.blocks - 1; k >= 0; k--) {
        const [p, before] = [model.blocks[k]!, z];
        z = tf.tidy(() => {
          const context = tokenContext(p, k, y);
          return permute(invert(p, permute(before, k), context, ...(guidance === null ? [] : [blockGuidance(p, k, guidance, T)])), k);
        });
        before.dispose();
        yield { block: k, z };
      }
    } finally {
      z.dispose();
    }
  }
  const imagesOf = (z: Tensor): Tensor => tf.tidy(() => unpatchify(z, config));
  return {
    sample(model, noise, options) {
      let images: Tensor | undefined;
      for (const { block, z } of walk(model, noise, options)) if (block === 0) images = imagesOf(z);
      return { images: images!, warnings: guidanceWarnings(readGuidance(options.guidance, where), options.y !== undefined, config) };
    },
    *steps(model, noise, options) {
      for (const { block, z } of walk(model, noise, options)) yield { block, images: imagesOf(z) };
    },
    get graphs() {
      return invert.graphs;
    },
    dispose: () => invert.dispose(),
  };
}
