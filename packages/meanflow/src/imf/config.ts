import { z } from 'zod';

const size = z.int().min(1);

/** Settings of the network of improved MeanFlow (arXiv 2512.02012): a plain transformer with its conditions as tokens, and two heads. */
export const imfConfig = z
  .strictObject({
    /** C, channels of the image. */
    inChannels: size,
    /** P, side of a patch. */
    patchSize: size,
    /** D; a multiple of twice the number of heads. */
    width: size,
    /** Number of blocks from the input to one output: the shared blocks and those of its head. */
    depth: size,
    /** K, attention heads of a block. */
    heads: size,
    /** Blocks of each of the two heads; the other depth - headDepth blocks are shared. */
    headDepth: size.default(8),
    /** N, number of classes; label N is "no class". */
    numClasses: size,
    /** Hidden width of the MLP divided by D; the hidden width is rounded down. */
    mlpRatio: z
      .number()
      .positive()
      .default(8 / 3),
    /** Numbers of tokens that carry the class, the guidance scale, each end of the guidance interval, and the length of the time interval. */
    classTokens: size.default(8),
    guidanceTokens: size.default(4),
    intervalTokens: size.default(2),
    timeTokens: size.default(4),
    /** Number of frequency features of a scalar condition. */
    frequencySize: z.int().min(2).default(256),
  })
  .refine((c) => c.width % (2 * c.heads) === 0, {
    path: ['heads'],
    error: (issue) => {
      const { width, heads } = issue.input as { width: number; heads: number };
      return `wanted heads of even width in a width of ${width}, got ${heads} heads`;
    },
  })
  .refine((c) => c.headDepth <= c.depth, {
    path: ['headDepth'],
    error: (issue) => {
      const { depth, headDepth } = issue.input as { depth: number; headDepth: number };
      return `wanted at most the depth ${depth}, got ${headDepth}`;
    },
  });
export type ImfConfig = z.output<typeof imfConfig>;
export type ImfSettings = z.input<typeof imfConfig>;

/** The published sizes, all with patches of 2. */
export const imfSizes = {
  'B/2': { depth: 12, width: 768, heads: 12, patchSize: 2 },
  'M/2': { depth: 24, width: 768, heads: 12, patchSize: 2 },
  'L/2': { depth: 32, width: 1024, heads: 16, patchSize: 2 },
  'XL/2': { depth: 48, width: 1024, heads: 16, patchSize: 2 },
} as const satisfies Record<string, Partial<ImfSettings>>;

/** Number of tokens before those of the image. */
export function imfPrefix({ classTokens, guidanceTokens, intervalTokens, timeTokens }: ImfConfig): number {
  return classTokens + guidanceTokens + 2 * intervalTokens + timeTokens;
}
