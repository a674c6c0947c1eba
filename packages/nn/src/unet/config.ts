import { parseConfig } from '@atelier/tensor';
import { z } from 'zod';

const count = z.number().int().min(1);

/**
 * Settings of a SongUNet ("DDPM++" of EDM, arXiv 2206.00364, standard encoder and decoder), by their names in the official code where it has one.
 */
export const songUNetConfig = z
  .strictObject({
    /** Side of the images that the network is named after: module names and `attentionResolutions` follow from it. */
    resolution: count,
    inChannels: count,
    outChannels: count,
    /** Number of classes, 0 for none (`label_dim`). */
    numClasses: z.number().int().min(0).default(0),
    /** Number of augmentation labels, 0 for none (`augment_dim`). */
    augmentDim: z.number().int().min(0).default(0),
    /** Channels at the full resolution before `channelMult` (`model_channels`). */
    channels: count,
    /** Channels of each level as a multiple of `channels`; the resolution halves from one level to the next. */
    channelMult: z.array(count).min(1),
    /** Width of the embedding as a multiple of `channels` (`channel_mult_emb`). */
    embeddingMult: count.default(4),
    /** Width of the frequency features of one time as a multiple of `channels` (`channel_mult_noise`). */
    noiseMult: count.default(1),
    /** Blocks of a level in the encoder; the decoder has one more (`num_blocks`). */
    blocks: count,
    attentionResolutions: z.array(count).default([]),
    /** Probability that a number in front of the second convolution of a block is set to 0. */
    dropout: z.number().min(0).lt(1).default(0),
    /** Low-pass of the up- and downsampling: [1, 1] in DDPM++, [1, 3, 3, 1] in MeanFlow's network. */
    filter: z.array(z.number()).min(2).default([1, 1]),
    /** How many times the network is told: the noise level, or MeanFlow's t and t - r. Their features are put side by side. */
    times: count.default(1),
    /** How the rows of `qkv` are read: q, k, v of one channel after the other (EDM), or all of q, all of k, all of v (MeanFlow). */
    qkv: z.enum(['interleaved', 'thirds']).default('interleaved'),
  })
  .superRefine((config, context) => {
    const factor = 2 ** (config.channelMult.length - 1);
    if (config.resolution % factor !== 0)
      context.addIssue({
        code: 'custom',
        path: ['resolution'],
        message: `wanted a multiple of ${factor} for ${config.channelMult.length} levels, got ${config.resolution}`,
      });
    if (config.channels % 4 !== 0)
      context.addIssue({ code: 'custom', path: ['channels'], message: `wanted a multiple of 4, got ${config.channels}` });
    if ((config.channels * config.noiseMult) / 2 < 2)
      context.addIssue({ code: 'custom', path: ['noiseMult'], message: 'wanted at least two frequencies' });
  });
export type SongUNetConfig = z.output<typeof songUNetConfig>;
export type SongUNetSettings = z.input<typeof songUNetConfig>;

/** Settings with their defaults. @throws Error naming the setting that does not fit */
export function parseSongUNetConfig(config: SongUNetSettings, where: string): SongUNetConfig {
  return parseConfig(songUNetConfig, config, where);
}
