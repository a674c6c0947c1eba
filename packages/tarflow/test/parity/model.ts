import { parseConfig, type Tensor, tf } from '@atelier/tensor';
import { type Golden, type GoldenFile } from '@atelier/testkit';
import { loadTarFlow, tarflowConfig, type TarFlow, type TarFlowConfig } from '../../src/index.ts';

/** The model of a weight file, from the file's own settings. */
export function loadModel(weights: GoldenFile): { model: TarFlow; config: TarFlowConfig } {
  const n = (key: string): number => Number(weights.setting(key));
  const config = parseConfig(
    tarflowConfig,
    {
      imageSize: n('img_size'),
      inChannels: n('in_channels'),
      patchSize: n('patch_size'),
      width: n('channels'),
      blocks: n('num_blocks'),
      layers: n('layers_per_block'),
      numClasses: n('num_classes'),
      headSize: n('head_dim'),
      expansion: n('expansion'),
      volumePreserving: weights.setting('nvp') === false,
    },
    weights.name,
  );
  return { model: loadTarFlow(weights.tensors(), config), config };
}

/** The model that a file names in its `weights`, whose first word is the name of the weight file. */
export function modelOf(file: GoldenFile, all: Golden): { model: TarFlow; config: TarFlowConfig } {
  return loadModel(all.load(file.metadata['weights']!.split(' ')[0]!));
}

/** Official images are [B, C, H, W]. */
export const toNHWC = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 3, 1]);
export const toNCHW = (x: Tensor): Tensor => tf.transpose(x, [0, 3, 1, 2]);
