import { z } from 'zod';
import { DEFAULT_TILE } from './tile.ts';

const count = z.int().min(1);

/** Settings of a Wan video transformer (Wan2.1) whose self-attention is video sparse attention. */
export const wanConfig = z.strictObject({
  heads: count,
  /** Channels of a head, d; even. The width of the network is C = heads·d. */
  headDim: count.refine((d) => d % 2 === 0, 'wanted an even number'),
  ffnDim: count,
  layers: count,
  /** Channels of a video or its latents, before and after. */
  inChannels: count,
  /** Channels of a text token; 0 for a network without text, whose blocks have no cross-attention. */
  textDim: z.int().min(0).default(0),
  /** Features of the time, even. */
  freqDim: count.refine((d) => d % 2 === 0, 'wanted an even number').default(256),
  /** Frames, rows and columns of a patch. */
  patch: z.tuple([count, count, count]).default([1, 2, 2]),
  /** Frames, rows and columns of tokens of a tile. */
  tile: z.tuple([count, count, count]).default([...DEFAULT_TILE]),
  /** Whether blocks have the gate of the coarse stage. Without it they are Wan's dense blocks. */
  gate: z.boolean().default(true),
  eps: z.number().positive().default(1e-6),
});
/** All settings, with the defaults filled in. */
export type WanConfig = z.output<typeof wanConfig>;
/** Settings as a caller writes them; those with a default may be left out. */
export type WanSettings = z.input<typeof wanConfig>;
