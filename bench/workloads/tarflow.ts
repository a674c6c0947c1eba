import { parseConfig, Rng, type Tensor, tf, toHostTree } from '@atelier/tensor';
import { initTarFlow, sequentialSampler, tarflowConfig, tokenSizes, type TarFlow, type TarFlowSettings } from '@atelier/tarflow';
import type { Work } from '../harness/work.ts';

export type TarFlowSetting = {
  settings: TarFlowSettings;
  batch: number;
  /** Number of blocks on which a peer compares its variants. */
  ratedBlocks: number;
};

const small: TarFlowSettings = { imageSize: 16, patchSize: 2, width: 32, headSize: 16, blocks: 4, layers: 2, numClasses: 2 };
/** 1024 tokens, as in three of the published models, with their head size and number of blocks. */
const long: TarFlowSettings = { imageSize: 64, patchSize: 2, width: 64, blocks: 8, layers: 2 };

export const tarflowSettings = {
  'sample-64-tokens': { settings: small, batch: 1, ratedBlocks: 4 },
  'sample-64-tokens-16': { settings: small, batch: 16, ratedBlocks: 4 },
  'sample-1024-tokens': { settings: long, batch: 1, ratedBlocks: 1 },
  'sample-1024-tokens-16': { settings: long, batch: 16, ratedBlocks: 1 },
} as const satisfies Record<string, TarFlowSetting>;

/**
 * A whole sample by the exact sampler, from noise to images in host memory. Its check numbers are the sums of squares after every block,
 * and over a quarter of the images.
 */
export function tarflowWork(name: string, { settings, batch, ratedBlocks }: TarFlowSetting): Work {
  const config = parseConfig(tarflowConfig, settings, `bench tarflow: ${name}`);
  const { T, D } = tokenSizes(config);
  const rng = new Rng('bench tarflow').child(name);
  const model = tf.tidy(() => moved(initTarFlow(rng.child('init'), settings), rng));
  const noise = rng.child('noise').normal([batch, T, D]);
  const sampler = sequentialSampler(settings);
  const [H, W] = config.imageSize;
  return {
    step: () => {
      const { images } = sampler.sample(model, noise, {});
      const first = images.dataSync()[0]!;
      images.dispose();
      if (!Number.isFinite(first)) throw new Error(`bench tarflow: ${name}: wanted finite images, got ${first}`);
    },
    check: async () => {
      const steps = [...sampler.steps(model, noise, {})].map((step) => step.images);
      const images = steps.at(-1)!;
      const quarter = tf.slice(images, [0, 0, 0, 0], [batch, H / 2, W / 2, config.inChannels]);
      const figures = [...steps, quarter].map(squares);
      tf.dispose([...steps, quarter]);
      return figures;
    },
    tensors: () => toHostTree({ params: { blocks: model.blocks }, inputs: { z: noise } }),
    peerConfig: {
      heads: config.width / config.headSize,
      grid: [H / config.patchSize, W / config.patchSize],
      patch: config.patchSize,
      rated_blocks: ratedBlocks,
    },
  };
}

/**
 * In a new model the last layer of every block is zero, so the transformer has no effect. This function gives these layers other values.
 */
function moved(model: TarFlow, rng: Rng): TarFlow {
  const blocks = model.blocks.map((block, k) => ({
    ...block,
    proj_out: { ...block.proj_out, weight: tf.mul(rng.child(`proj_out ${k}`).normal(block.proj_out.weight.shape), 0.02) },
  }));
  return { ...model, blocks };
}

const squares = (x: Tensor): number => Array.from(x.dataSync(), (value) => value * value).reduce((a, b) => a + b, 0);
