import { z } from 'zod';
import { parseConfig } from '@atelier/tensor';
import { parameterCount, type Init, type ParameterTable } from '../parameters/init.ts';

const size = z.int().min(1);

/**
 * Settings of a diffusion transformer. The official PyTorch DiT has `learnSigma: true` and times 0 … 999; the official MeanFlow DiT has
 * `interval: true` and times in [0, 1], which neither of them scales.
 */
export const ditConfig = z
  .strictObject({
    /** C, channels of the input image. */
    inChannels: size,
    /** P, side of a patch. */
    patchSize: size,
    /** D; a multiple of 4 and of the number of heads. */
    width: size,
    /** Number of blocks. */
    depth: size,
    /** K, attention heads of a block. */
    heads: size,
    /** r, hidden width of the MLP over D. */
    mlpRatio: z.number().positive().default(4),
    /** N, number of classes; 0 means that the network takes no label. */
    numClasses: z.int().min(0).default(0),
    /** Whether the class table has a last row for "no class" (official: if labels are dropped in training). */
    nullClass: z.boolean().default(true),
    /** Whether the network also takes the length of an interval, h = t - r, through an embedder of its own (MeanFlow). */
    interval: z.boolean().default(false),
    /** Whether the output has 2C channels, the second half being the variance. */
    learnSigma: z.boolean().default(false),
    /** Factor of t and h before their frequency features. */
    timeScale: z.number().positive().default(1),
    /** Number of frequency features of a time. */
    frequencySize: z.int().min(2).default(256),
  })
  .refine((c) => c.width % 4 === 0, {
    path: ['width'],
    error: (issue) => `wanted a multiple of 4, got ${(issue.input as { width: number }).width}`,
  })
  .refine((c) => c.width % c.heads === 0, {
    path: ['heads'],
    error: (issue) => {
      const { width, heads } = issue.input as { width: number; heads: number };
      return `wanted a divisor of the width ${width}, got ${heads}`;
    },
  });

/** All settings, defaults filled in. */
export type DiTConfig = z.output<typeof ditConfig>;
/** Settings as written, defaults left out. */
export type DiTSettings = z.input<typeof ditConfig>;

/** Depth, width and heads of the named sizes; M is MeanFlow's, the others are DiT's. */
export const ditSizes = {
  S: { depth: 12, width: 384, heads: 6 },
  B: { depth: 12, width: 768, heads: 12 },
  M: { depth: 16, width: 1024, heads: 16 },
  L: { depth: 24, width: 1024, heads: 16 },
  XL: { depth: 28, width: 1152, heads: 16 },
} as const;

const patchSizes = [2, 4, 8] as const;
/** The networks of DiT by size and patch, such as `XL/2`. */
export type DiTName = `${'S' | 'B' | 'L' | 'XL'}/${(typeof patchSizes)[number]}`;
export const ditNames: readonly DiTName[] = (['S', 'B', 'L', 'XL'] as const).flatMap((size) =>
  patchSizes.map((patch): DiTName => `${size}/${patch}`),
);

/**
 * Settings of a published DiT (facebookresearch/DiT models.py:328): latents of 4 channels, 1000 classes and one for "no class", learned variance, times
 * 0 … 999.
 */
export function officialDiTConfig(name: DiTName, data: { inChannels?: number; numClasses?: number; learnSigma?: boolean } = {}): DiTConfig {
  const { inChannels = 4, numClasses = 1000, learnSigma = true } = data;
  const dimensions = ditDimensions(name, ditNames, 'officialDiTConfig');
  return parseConfig(ditConfig, { ...dimensions, inChannels, numClasses, learnSigma }, 'officialDiTConfig');
}

/** Depth, width, heads and patch of the network called `name`, which is a size of `ditSizes` and a patch. @throws Error unless it is one of `names` */
export function ditDimensions(
  name: string,
  names: readonly string[],
  where: string,
): { depth: number; width: number; heads: number; patchSize: number } {
  if (!names.includes(name)) throw new Error(`${where}: size: wanted ${names.join(', ')}, got '${String(name)}'`);
  const [size, patch] = name.split('/') as [keyof typeof ditSizes, string];
  return { ...ditSizes[size], patchSize: Number(patch) };
}

/** Output channels: C, or 2C with a learned variance. */
export function ditOutChannels(config: DiTSettings): number {
  return config.inChannels * (config.learnSigma === true ? 2 : 1);
}

/**
 * Shape and official start of every parameter, by official PyTorch name. The sine-cosine positions are no parameter here (the official
 * state dict carries them as `pos_embed`, frozen).
 */
export function ditParameters(settings: DiTSettings): ParameterTable {
  const config = parseConfig(ditConfig, settings, 'ditParameters');
  const { inChannels: C, patchSize: P, width: D, depth, frequencySize, numClasses } = config;
  const hidden = Math.floor(D * config.mlpRatio);
  const table: ParameterTable = {};
  const layer = (name: string, out: number, width: number, init: Init): void => {
    table[`${name}.weight`] = { shape: [out, width], init };
    table[`${name}.bias`] = { shape: [out], init: 'zeros' };
  };
  table['x_embedder.proj.weight'] = { shape: [D, C, P, P], init: 'xavier' };
  table['x_embedder.proj.bias'] = { shape: [D], init: 'zeros' };
  for (const embedder of config.interval ? ['t_embedder', 'h_embedder'] : ['t_embedder']) {
    layer(`${embedder}.mlp.0`, D, frequencySize, { normal: 0.02 });
    layer(`${embedder}.mlp.2`, D, D, { normal: 0.02 });
  }
  if (numClasses > 0) {
    table['y_embedder.embedding_table.weight'] = { shape: [numClasses + (config.nullClass ? 1 : 0), D], init: { normal: 0.02 } };
  }
  for (let l = 0; l < depth; l++) {
    layer(`blocks.${l}.attn.qkv`, 3 * D, D, 'xavier');
    layer(`blocks.${l}.attn.proj`, D, D, 'xavier');
    layer(`blocks.${l}.mlp.fc1`, hidden, D, 'xavier');
    layer(`blocks.${l}.mlp.fc2`, D, hidden, 'xavier');
    layer(`blocks.${l}.adaLN_modulation.1`, 6 * D, D, 'zeros');
  }
  layer('final_layer.linear', P * P * ditOutChannels(config), D, 'zeros');
  layer('final_layer.adaLN_modulation.1', 2 * D, D, 'zeros');
  return table;
}

/** Number of trainable parameters, without allocating any (B/4 of MeanFlow with 1000 classes: 131,165,248). */
export function ditParameterCount(settings: DiTSettings): number {
  return parameterCount(ditParameters(settings));
}
