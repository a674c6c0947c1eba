import { linear } from '@atelier/nn';
import type { Tensor } from '@atelier/tensor';
import { mvarAttention, type KeyValues } from './attention.ts';
import { headNorm, mvarBlock, type Modulation } from './block.ts';
import { firstSeen, type MvarConfig } from './config.ts';
import { scalesOf, tokensOf } from './ladder.ts';
import type { MvarParams } from './model.ts';

/** How many tokens of earlier scales step l sees: the cache of a block holds their keys and values. 0 with a history of one scale. */
export function pastTokens(l: number, config: MvarConfig): number {
  return tokensOf(scalesOf(config.ladder, 'pastTokens').slice(firstSeen(l, config), l));
}

/** Inputs of the network for one scale. B counts a guided sample twice: with and without its class. */
export type StepInputs = {
  /** Embedded tokens of the scale [B, n, C]. */
  tokens: Tensor;
  /** Class embeddings [B, C]. */
  cond: Tensor;
  /** The six modulation vectors of every block (`modulations`). */
  vectors: readonly Modulation[];
  /** Cached keys and values: for each earlier scale that this scale sees, oldest first, one entry for each block. */
  past: readonly (readonly KeyValues[])[];
};

/**
 * The network on scale l in sampling: logits [B, n, V], and `kept`, the keys and values of each block for the cache. `kept` is empty if no later
 * scale sees this one: with a history of one scale (MVAR), and at the last scale. `samplingStep` is the whole step, with guidance and drawing.
 */
export function mvarStep(
  params: MvarParams,
  { tokens, cond, vectors, past }: StepInputs,
  l: number,
  config: MvarConfig,
): { logits: Tensor; kept: KeyValues[] } {
  const range = { first: l, end: l + 1 };
  const from = firstSeen(l, config);
  const keeps = l + 1 < config.ladder.length && config.historyScales > 1;
  const kept: KeyValues[] = [];
  const out = params.blocks.reduce(
    (x, block, i) =>
      mvarBlock(block, x, vectors[i]!, (u) => {
        const maps = past.map((blocks) => blocks[i]!);
        const attended = mvarAttention(block.attn, u, { range, past: { maps, from } }, config);
        if (keeps) kept.push(attended.own);
        return attended.out;
      }),
    tokens,
  );
  return { logits: linear(params.head, headNorm(params.head_nm, out, cond)), kept };
}
