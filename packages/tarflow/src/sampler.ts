import { compile, dims, parseConfig, type Tensor, tf } from '@atelier/tensor';
import { permute, tokenContext, type BlockParams } from './block.ts';
import { tarflowConfig, tokenSizes, type TarFlowSettings } from './config.ts';
import { blockGuidance, guidanceWarnings, readGuidance, type Guidance, type GuidanceOptions } from './guidance.ts';
import { checkLabelRange, checkLabels, checkModel, type TarFlow } from './model.ts';
import { unpatchify } from './patch.ts';
import { reverseBlock } from './sequential.ts';

export type SampleOptions = {
  /** Labels [B] int32 in -1 … N-1, -1 for none; none at all if absent. */
  y?: Tensor;
  guidance?: GuidanceOptions;
};

export type Sample = {
  /** Images [B, H, W, C]; near [-1, 1], not clipped. */
  images: Tensor;
  /** What the options asked for and could not have, in words. */
  warnings: string[];
};

/** Samples a model of fixed settings; its graphs live until `dispose`. */
export type SequentialSampler = {
  (model: TarFlow, noise: Tensor, options?: SampleOptions): Sample;
  /** The same with the output of every inverted block as images, the first being the noise: [K + 1] of [B, H, W, C]. */
  trace(model: TarFlow, noise: Tensor, options?: SampleOptions): Sample & { steps: Tensor[] };
  /** Graphs made so far: one for each batch size, with and without guidance. All blocks share it. */
  readonly graphs: number;
  dispose(): void;
};

/**
 * The exact sampler: noise ε [B, T, D] ~ N(0, I) -> images, block by block from the last to the first, starting at ε·√var.
 *
 * Guidance on a model without classes, or without labels, compares the null class with itself: it does something only if its attention
 * temperature is not 1. Otherwise the sample says so in `warnings`.
 * @throws Error if labels are out of range, or if noise, labels or model do not fit the settings
 */
export function sequentialSampler(settings: TarFlowSettings): SequentialSampler {
  const config = parseConfig(tarflowConfig, settings, 'sequentialSampler');
  const { T, D } = tokenSizes(config);
  const invert = compile(
    (p: BlockParams, z: Tensor, context: Tensor, ...guidance: Guidance[]) =>
      reverseBlock(p, z, config, { context, ...(guidance[0] && { guidance: guidance[0] }) }),
    { name: 'tarflow-sequential' },
  );
  const run = (model: TarFlow, noise: Tensor, { y, guidance: options }: SampleOptions, see: (z: Tensor) => void): Sample => {
    const where = 'sequentialSampler';
    checkModel(model, config, where);
    const { B } = dims<'B'>(noise, 'B T D', `${where}: noise`, { T, D });
    checkLabels(y, B, config, where);
    checkLabelRange(y, config, where);
    const guidance = readGuidance(options, where);
    const images = tf.tidy(() => {
      let z = tf.mul(noise, tf.sqrt(model.var));
      see(z);
      for (let k = config.blocks - 1; k >= 0; k--) {
        const p = model.blocks[k]!;
        const context = tokenContext(p, k, y);
        z = permute(invert(p, permute(z, k), context, ...(guidance === null ? [] : [blockGuidance(p, k, guidance, T)])), k);
        see(z);
      }
      return unpatchify(z, config);
    });
    return { images, warnings: guidanceWarnings(guidance, y !== undefined, config) };
  };
  const sampler = Object.assign((model: TarFlow, noise: Tensor, options: SampleOptions = {}) => run(model, noise, options, () => {}), {
    trace: (model: TarFlow, noise: Tensor, options: SampleOptions = {}) => {
      const steps: Tensor[] = [];
      const sample = run(model, noise, options, (z) => steps.push(tf.keep(unpatchify(z, config))));
      return { ...sample, steps };
    },
    dispose: () => invert.dispose(),
  });
  return Object.defineProperty(sampler, 'graphs', { get: () => invert.graphs }) as SequentialSampler;
}
