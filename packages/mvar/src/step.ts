import { linear } from '@atelier/nn';
import type { Tensor } from '@atelier/tensor';
import { mvarAttention, type KeyValues } from './attention.ts';
import { headNorm, mvarBlock, type Modulation } from './block.ts';
import { firstSeen, type MvarConfig } from './config.ts';
import { scalesOf, tokensOf } from './ladder.ts';
import type { MvarParams } from './model.ts';

/** Tokens whose keys and values a block keeps for step l: of the earlier scales that it still sees. None with a history of one scale. */
export function pastTokens(l: number, config: MvarConfig): number {
  return tokensOf(scalesOf(config.ladder, 'pastTokens').slice(firstSeen(l, config), l));
}

export type StepInputs = {
  /** Embedded tokens of the scale [B, n, C]. */
  tokens: Tensor;
  /** Class embeddings [B, C]. */
  cond: Tensor;
  /** Vectors of every block. */
  vectors: readonly Modulation[];
  /** Keys and values of the earlier scales that the scale still sees, each block by block. */
  past: readonly (readonly KeyValues[])[];
};

/**
 * One scale of sampling: its logits [B, n, V], and its keys and values block by block if a later scale sees them: not with a history of one scale, which is
 * MVAR, and not of the last scale.
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
