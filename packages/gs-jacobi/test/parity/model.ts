import { type Tensor, tf } from '@atelier/tensor';
import { loadTarFlow, officialTarFlowConfig, type TarFlow, type TarFlowConfig } from '@atelier/tarflow';
import { type Golden, type GoldenFile } from '@atelier/testkit';

/** The model of a weight file, from the file's own settings. */
export function loadModel(weights: GoldenFile): { model: TarFlow; config: TarFlowConfig } {
  const config = officialTarFlowConfig(weights.metadata);
  return { model: loadTarFlow(weights.tensors(), config), config };
}

/** The model of `weights_<tag>`, as files that hold several models name them. */
export const taggedModel = (all: Golden, tag: string): { model: TarFlow; config: TarFlowConfig } => loadModel(all.load(`weights_${tag}`));

/** Official images are [B, C, H, W]. */
export const toNCHW = (x: Tensor): Tensor => tf.transpose(x, [0, 3, 1, 2]);
export const toNHWC = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 3, 1]);
