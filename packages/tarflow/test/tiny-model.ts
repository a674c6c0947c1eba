import { initTarFlow, type TarFlow, type TarFlowSettings } from '../src/index.ts';
import { Rng, tf } from '@atelier/tensor';

/** A small model, more wide than high, three channels. */
export const tiny = {
  imageSize: [4, 6] as [number, number],
  patchSize: 2,
  width: 16,
  headSize: 8,
  blocks: 3,
  layers: 2,
} satisfies TarFlowSettings;

/** Weights away from the official start, whose last layers are zero. The caller owns them. */
export function randomModel(seed: string, settings: TarFlowSettings, scale = 0.05): TarFlow {
  const rng = new Rng(seed);
  const model = initTarFlow(rng.child('init'), settings);
  const blocks = model.blocks.map((block, k) => {
    const { weight } = block.proj_out;
    return { ...block, proj_out: { ...block.proj_out, weight: tf.mul(rng.child(k).normal(weight.shape), scale) } };
  });
  return { ...model, blocks };
}
