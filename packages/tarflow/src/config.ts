import { parameterCount, type Init, type ParameterTable } from '@atelier/nn';
import { parseConfig } from '@atelier/tensor';
import { z } from 'zod';

const size = z.int().min(1);

/** Settings of a TarFlow. The official constructor fixes a head size of 64 and an expansion of 4. */
export const tarflowConfig = z
  .strictObject({
    /** [H, W] of the images, or one number for both. */
    imageSize: z
      .union([size, z.tuple([size, size])])
      .transform((side): [number, number] => (typeof side === 'number' ? [side, side] : side)),
    /** C, channels of an image. */
    inChannels: size.default(3),
    /** S, side of a patch; divides both sides of the image. */
    patchSize: size,
    /** W, width of the transformers; a multiple of the head size. */
    width: size,
    /** K, number of flow blocks; block k = 0 comes first from data to noise. */
    blocks: size,
    /** L, transformer layers of a block. */
    layers: size,
    /** Number of classes; 0 means that the model takes no label. */
    numClasses: z.int().min(0).default(0),
    /** d, width of an attention head. */
    headSize: size.default(64),
    /** Hidden width of the MLPs divided by W. */
    expansion: size.default(4),
    /** Whether the blocks only shift (alpha = 0): the ablation that the paper calls VP, official `nvp=False`. */
    volumePreserving: z.boolean().default(false),
  })
  .refine((c) => c.imageSize.every((side) => side % c.patchSize === 0), {
    path: ['patchSize'],
    error: (issue) => {
      const { imageSize, patchSize } = issue.input as { imageSize: number[]; patchSize: number };
      return `wanted a patch size that divides the image size [${imageSize.join(', ')}], got ${patchSize}`;
    },
  })
  .refine((c) => c.width % c.headSize === 0, {
    path: ['headSize'],
    error: (issue) => {
      const { width, headSize } = issue.input as { width: number; headSize: number };
      return `wanted a divisor of the width ${width}, got ${headSize}`;
    },
  });

/** All settings, with the defaults filled in. */
export type TarFlowConfig = z.output<typeof tarflowConfig>;
/** Settings as a caller writes them; those with a default may be left out. */
export type TarFlowSettings = z.input<typeof tarflowConfig>;

/** T, the tokens of an image, and D, the values of a token. */
export function tokenSizes(config: TarFlowConfig): { T: number; D: number } {
  const [H, W] = config.imageSize;
  const S = config.patchSize;
  return { T: (H / S) * (W / S), D: config.inChannels * S * S };
}

/**
 * Shape and official initial values of every trained parameter, by official name. `proj_out.weight` starts at zero and its bias does not, so a new flow is
 * not the identity: each block applies the same affine map to every token except the first.
 */
export function tarflowParameters(settings: TarFlowSettings): ParameterTable {
  const config = parseConfig(tarflowConfig, settings, 'tarflowParameters');
  const { T, D } = tokenSizes(config);
  const { width: W, expansion, numClasses } = config;
  const table: ParameterTable = {};
  const layer = (name: string, out: number, width: number, init: Init = 'torch'): void => {
    table[`${name}.weight`] = { shape: [out, width], init };
    table[`${name}.bias`] = { shape: [out], init: { uniform: width ** -0.5 } };
  };
  const norm = (name: string): void => {
    table[`${name}.weight`] = { shape: [W], init: 'ones' };
    table[`${name}.bias`] = { shape: [W], init: 'zeros' };
  };
  for (let k = 0; k < config.blocks; k++) {
    layer(`blocks.${k}.proj_in`, W, D);
    table[`blocks.${k}.pos_embed`] = { shape: [T, W], init: { normal: 0.01 } };
    if (numClasses > 0) table[`blocks.${k}.class_embed`] = { shape: [numClasses, 1, W], init: { normal: 0.01 } };
    for (let l = 0; l < config.layers; l++) {
      const at = `blocks.${k}.attn_blocks.${l}`;
      norm(`${at}.attention.norm`);
      layer(`${at}.attention.qkv`, 3 * W, W);
      layer(`${at}.attention.proj`, W, W);
      norm(`${at}.mlp.norm`);
      layer(`${at}.mlp.main.0`, expansion * W, W);
      layer(`${at}.mlp.main.2`, W, expansion * W);
    }
    layer(`blocks.${k}.proj_out`, config.volumePreserving ? D : 2 * D, W, 'zeros');
  }
  return table;
}

/** Number of trained parameters, without allocating any (the prior's buffer `var` is not counted). */
export function tarflowParameterCount(settings: TarFlowSettings): number {
  return parameterCount(tarflowParameters(settings));
}

/** A published model: settings, deviation σ_n of its noise augmentation, and how long it was trained. */
export type PublishedTarFlow = {
  readonly settings: TarFlowSettings;
  /** σ_n, or `uniform` for the likelihood model, which is dequantised uniformly and trained in float32. */
  readonly noise: number | 'uniform';
  /** Images per step; null if no source gives the number. */
  readonly batch: number | null;
  readonly epochs: number;
};

const net = (imageSize: number, patchSize: number, width: number, numClasses: number): TarFlowSettings => ({
  imageSize,
  patchSize,
  width,
  blocks: 8,
  layers: 8,
  numClasses,
});

/** The models of the two papers. ImageNet-64 with patches of 4 is GS-Jacobi's "Img64cond". */
export const publishedTarFlows = {
  'afhq-256': { settings: net(256, 8, 768, 3), noise: 0.07, batch: 256, epochs: 4000 },
  'imagenet-128': { settings: net(128, 4, 1024, 1000), noise: 0.15, batch: 768, epochs: 320 },
  'imagenet-64-uncond': { settings: net(64, 2, 768, 0), noise: 0.05, batch: 256, epochs: 200 },
  'imagenet-64': { settings: net(64, 2, 768, 1000), noise: 0.05, batch: 256, epochs: 200 },
  'imagenet-64-patch-4': { settings: net(64, 4, 1024, 1000), noise: 0.05, batch: null, epochs: 300 },
  'imagenet-64-bpd': { settings: net(64, 2, 768, 0), noise: 'uniform', batch: 256, epochs: 100 },
  mnist: {
    settings: { imageSize: 28, inChannels: 1, patchSize: 4, width: 128, blocks: 4, layers: 4, numClasses: 10 },
    noise: 0.1,
    batch: 256,
    epochs: 100,
  },
} as const satisfies Record<string, PublishedTarFlow>;
