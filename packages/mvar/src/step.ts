import { linear } from '@atelier/nn';
import { tf, type Tensor } from '@atelier/tensor';
import { mvarAttention, type KeyValues } from './attention.ts';
import { headNorm, mvarBlock, type Modulation } from './block.ts';
import type { MvarConfig } from './config.ts';
import { scalesOf } from './ladder.ts';
import type { MvarParams } from './model.ts';

/** The scales whose keys and values step l finds kept: from the first that it still sees up to l - 1. None with a history of one scale. */
export function pastScales(l: number, { historyScales }: MvarConfig): { first: number; end: number } {
  return { first: Math.max(0, l + 1 - historyScales), end: l };
}

/** Tokens whose keys and values a block keeps for step l. */
export function pastTokens(l: number, config: MvarConfig): number {
  const { first, end } = pastScales(l, config);
  return scalesOf(config.ladder, 'pastTokens')
    .slice(first, end)
    .reduce((sum, { tokens }) => sum + tokens, 0);
}

export type StepInputs = {
  /** Embedded tokens of the scale [B, n, C]. */
  tokens: Tensor;
  /** Class embeddings [B, C]. */
  cond: Tensor;
  /** Vectors of every block. */
  vectors: readonly Modulation[];
  /** Keys and values of earlier scales, block by block; none where the step sees its own scale alone. */
  past: readonly KeyValues[];
};

/**
 * One scale of sampling: its logits [B, n, V], and the keys and values that the next scale wants kept, block by block: none with a history of one scale,
 * which is MVAR, and none after the last scale.
 */
export function mvarStep(
  params: MvarParams,
  { tokens, cond, vectors, past }: StepInputs,
  l: number,
  config: MvarConfig,
): { logits: Tensor; kept: KeyValues[] } {
  const range = { first: l, end: l + 1 };
  const { first: from } = pastScales(l, config);
  const keeps = l + 1 < config.ladder.length && config.historyScales > 1;
  const kept: KeyValues[] = [];
  const out = params.blocks.reduce(
    (x, block, i) =>
      mvarBlock(block, x, vectors[i]!, (u) => {
        const before = past[i];
        const attended = mvarAttention(block.attn, u, before ? { range, past: { ...before, from } } : { range }, config);
        if (keeps) kept.push(newest(attended.kept, pastTokens(l + 1, config)));
        return attended.out;
      }),
    tokens,
  );
  return { logits: linear(params.head, headNorm(params.head_nm, out, cond)), kept };
}

/** The last `count` tokens. */
function newest({ k, v }: KeyValues, count: number): KeyValues {
  const last = (x: Tensor): Tensor => {
    const [B, h, m, d] = x.shape as [number, number, number, number];
    return m === count ? x : tf.slice(x, [0, 0, m - count, 0], [B, h, count, d]);
  };
  return { k: last(k), v: last(v) };
}
