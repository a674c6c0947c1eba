import {
  applySongUNet,
  initSongUNet,
  parseSongUNetConfig,
  type DropoutFactors,
  type SongUNetConfig,
  type SongUNetParams,
  type SongUNetSettings,
} from '@atelier/nn';
import type { Rng, Tensor } from '@atelier/tensor';
import type { AverageVelocity } from './objective.ts';

/** What a MeanFlow U-Net has in common whatever its size: it is told t and t - r, it filters when it resamples, its q, k and v lie in thirds. */
const common = { times: 2, noiseMult: 2, filter: [1, 3, 3, 1], qkv: 'thirds' } satisfies Partial<SongUNetSettings>;

/** The U-Net of the CIFAR-10 experiments: 55,932,419 parameters (py-meanflow models/unet.py), 6 augmentation labels, dropout 0.2. */
const cifar10 = {
  resolution: 32,
  inChannels: 3,
  outChannels: 3,
  augmentDim: 6,
  channels: 128,
  channelMult: [2, 2, 2],
  embeddingMult: 4,
  blocks: 4,
  attentionResolutions: [16],
  dropout: 0.2,
} satisfies SongUNetSettings;

/** Settings of a U-Net for MeanFlow: those of the CIFAR-10 experiments, but for what is given. @throws Error naming the setting that does not fit */
export function meanFlowUNetConfig(settings: Partial<SongUNetSettings> = {}): SongUNetConfig {
  return checkTimes(parseSongUNetConfig({ ...cifar10, ...common, ...settings }, 'meanFlowUNetConfig'), 'meanFlowUNetConfig');
}

/** New parameters with the official start. The caller owns them. */
export function initMeanFlowUNet(rng: Rng, config: SongUNetConfig): SongUNetParams {
  return initSongUNet(rng, checkTimes(config, 'initMeanFlowUNet'));
}

export type MeanFlowUNetOptions = {
  /** Augmentation labels [B, augmentDim] of the batch (`augmentImages`); absent when sampling. */
  augment?: Tensor;
  /** Factors of the dropout for the batch (`drawDropout`), the same for u and its derivative as the loss needs it; absent when sampling. */
  dropout?: DropoutFactors;
};

/**
 * The U-Net as N_θ(z; t, h; y) on z [B, H, W, C]; y [B] int32 where the network has classes, `config.numClasses` being the null label. Augmentation labels
 * and dropout belong to a whole batch: such a network cannot be used with `movingRows`, which cuts it.
 */
export function meanFlowUNet(
  params: SongUNetParams,
  config: SongUNetConfig,
  { augment, dropout }: MeanFlowUNetOptions = {},
): AverageVelocity {
  checkTimes(config, 'meanFlowUNet');
  return (z, t, h, y) =>
    applySongUNet(params, z, { times: [t, h], ...(y && { labels: y }), ...(augment && { augment }), ...(dropout && { dropout }) }, config);
}

function checkTimes(config: SongUNetConfig, where: string): SongUNetConfig {
  if (config.times !== 2) throw new Error(`${where}: config: times: wanted 2 (t and t - r), got ${config.times}`);
  return config;
}
