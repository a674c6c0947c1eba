import { type Tensor, tf } from '@atelier/tensor';
import { type Golden, type GoldenFile } from '@atelier/testkit';
import { loadTarFlow, officialTarFlowConfig, type TarFlow, type TarFlowConfig } from '../../src/index.ts';

/** The model of a weight file, from the file's own settings. */
export function loadModel(weights: GoldenFile): { model: TarFlow; config: TarFlowConfig } {
  const config = officialTarFlowConfig(weights.metadata);
  return { model: loadTarFlow(weights.tensors(), config), config };
}

/** The model that a file names in its `weights`, whose first word is the name of the weight file. */
export function modelOf(file: GoldenFile, all: Golden): { model: TarFlow; config: TarFlowConfig } {
  return loadModel(all.load(file.metadata['weights']!.split(' ')[0]!));
}

/** Official images are [B, C, H, W]. */
export const toNHWC = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 3, 1]);
export const toNCHW = (x: Tensor): Tensor => tf.transpose(x, [0, 3, 1, 2]);
