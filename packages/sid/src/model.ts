import {
  applySongUNet,
  encodeSongUNet,
  parseSongUNetConfig,
  type DropoutFactors,
  type SongUNetConfig,
  type SongUNetParams,
  type SongUNetSettings,
} from '@atelier/nn';
import { tf, type Tensor } from '@atelier/tensor';
import { channelMean, type Critic } from './adversarial.ts';
import type { SidNetwork } from './guidance.ts';

/** EDM's U-Nets: CIFAR-10, and FFHQ and AFHQ-v2 at 64 pixels. */
const published = {
  cifar10: {
    resolution: 32,
    inChannels: 3,
    outChannels: 3,
    augmentDim: 9,
    channels: 128,
    channelMult: [2, 2, 2],
    blocks: 4,
    attentionResolutions: [16],
    dropout: 0.13,
  },
  faces64: {
    resolution: 64,
    inChannels: 3,
    outChannels: 3,
    augmentDim: 9,
    channels: 128,
    channelMult: [1, 2, 2, 2],
    blocks: 4,
    attentionResolutions: [16],
    dropout: 0.05,
  },
} satisfies Record<string, SongUNetSettings>;

/** Settings of a published U-Net, but for what is given. @throws Error naming the setting that does not fit */
export function sidUNetConfig(name: keyof typeof published, settings: Partial<SongUNetSettings> = {}): SongUNetConfig {
  if (!Object.hasOwn(published, name))
    throw new Error(`sidUNetConfig: wanted ${Object.keys(published).join(' or ')}, got '${String(name)}'`);
  return parseSongUNetConfig({ ...published[name], ...settings }, 'sidUNetConfig');
}

export type UNetExtras = {
  /** Augmentation labels [B, augmentDim]; absent is "not augmented". */
  augment?: Tensor;
  dropout?: DropoutFactors;
  /** What times are multiplied by before the network is told: 1/1000 suits discrete times, for its frequencies are those of a small number; 1 if absent. */
  timeScale?: number;
};

/** The U-Net as SiD sees a network. Conditions are classes [B] int32, the number of classes standing for "none". */
export function unetNetwork(params: SongUNetParams, config: SongUNetConfig, extras: UNetExtras = {}): SidNetwork {
  return (x, t, condition) => applySongUNet(params, x, inputsOf(t, condition, extras), config);
}

/** Logits of its encoder: the mean over channels of the last features, at the lowest resolution, [B, h, w] (SiDA). */
export function unetCritic(params: SongUNetParams, config: SongUNetConfig, extras: UNetExtras = {}): Critic {
  return (x, t, condition) => channelMean(encodeSongUNet(params, x, inputsOf(t, condition, extras), config).skips.at(-1)!);
}

function inputsOf(t: Tensor, condition: Tensor | undefined, { augment, dropout, timeScale = 1 }: UNetExtras) {
  const time = timeScale === 1 ? t : tf.mul(t, timeScale);
  return { times: [time], ...(condition && { labels: condition }), ...(augment && { augment }), ...(dropout && { dropout }) };
}
