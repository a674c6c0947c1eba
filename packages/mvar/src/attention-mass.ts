import { embedClass } from '@atelier/nn';
import { parseConfig, dims, tf, type Tensor } from '@atelier/tensor';
import { mvarAttention, projections } from './attention.ts';
import { mvarBlock } from './block.ts';
import { mvarConfig, type MvarSettings } from './config.ts';
import { scalesOf, tokensOf, type Scale } from './ladder.ts';
import { checkModel, embedTokens, modulations, type MvarInputs, type MvarParams } from './model.ts';
import { windowStart } from './neighborhood.ts';

/** Where the attention of a network goes: means over samples, heads, blocks and queries. */
export type AttentionMass = {
  /**
   * [K][K]: in the row of a scale of queries, the share of attention that goes to each scale of keys. Rows sum to 1; later scales (above the
   * diagonal) get 0.
   */
  byScale: number[][];
  /** For queries of the last scale and each odd window side: of the attention that stays in this scale, the share within the window around the query. */
  byWindow: { side: number; share: number }[];
};

/**
 * The measurement that motivates the paper, for any network that sees all scales: how much attention stays in the query's own scale, and how near to
 * the query it stays. Windows at a border are moved inwards, as in `windowStart`.
 *
 * @param inputs classes [B] and the inputs of all scales [B, N - n_0, c]
 */
export function attentionMass(params: MvarParams, inputs: MvarInputs & { x: Tensor }, settings: MvarSettings): AttentionMass {
  const config = parseConfig(mvarConfig, settings, 'attentionMass');
  const scales = scalesOf(config.ladder, 'attentionMass');
  if (config.historyScales !== scales.length)
    throw new Error(`attentionMass: historyScales: wanted all ${scales.length} scales, got ${config.historyScales}`);
  checkModel(params, config, 'attentionMass');
  const range = { first: 0, end: scales.length };
  const side = config.ladder.at(-1)!;
  const windows = Array.from({ length: Math.ceil(side / 2) }, (_, i) => 2 * i + 1);
  const byScale = scales.map(() => scales.map(() => 0));
  const near = windows.map(() => 0);
  tf.tidy(() => {
    dims(inputs.y, 'B', 'attentionMass: y');
    const cond = embedClass(params.class_emb, inputs.y);
    let x = embedTokens(params, cond, inputs.x, scales);
    modulations(params, cond, config).forEach((vectors, i) => {
      const block = params.blocks[i]!;
      x = mvarBlock(block, x, vectors, (u) => {
        const { q, k, scale } = projections(block.attn, u, config.heads);
        for (const own of scales) {
          const mean = meanWeights(q, k, scale, own, scales);
          for (const other of scales.slice(0, own.index + 1))
            byScale[own.index]![other.index]! += sumOf(mean, own, other) / config.depth / own.tokens;
          if (own.side === side) windows.forEach((window, j) => (near[j]! += nearby(mean, own, window) / config.depth / own.tokens));
        }
        return mvarAttention(block.attn, u, { range }, config).out;
      });
    });
  });
  const own = byScale.at(-1)!.at(-1)!;
  return { byScale, byWindow: windows.map((window, j) => ({ side: window, share: near[j]! / own })) };
}

/** Attention weights of the queries of one scale (rows) for all keys up to this scale (columns), as means over samples and heads. */
function meanWeights(q: Tensor, k: Tensor, scale: number, own: Scale, scales: readonly Scale[]): { columns: number; data: Float32Array } {
  const columns = tokensOf(scales.slice(0, own.index + 1));
  const [B, h, , d] = q.shape as [number, number, number, number];
  const data = tf.tidy(() => {
    const queries = tf.slice(q, [0, 0, own.offset, 0], [B, h, own.tokens, d]);
    const keys = tf.slice(k, [0, 0, 0, 0], [B, h, columns, d]);
    return tf.mean(tf.softmax(tf.mul(tf.matMul(queries, keys, false, true), scale)), [0, 1]).dataSync() as Float32Array;
  });
  return { columns, data };
}

/** The sum of the weights that the queries of scale `own` give to scale `other`. */
function sumOf({ columns, data }: ReturnType<typeof meanWeights>, own: Scale, other: Scale): number {
  let sum = 0;
  for (let u = 0; u < own.tokens; u++) for (let w = 0; w < other.tokens; w++) sum += data[u * columns + other.offset + w]!;
  return sum;
}

/** The sum of the weights that the queries of a scale give to the window of side `window` around them. */
function nearby({ columns, data }: ReturnType<typeof meanWeights>, { side, offset }: Scale, window: number): number {
  let sum = 0;
  for (let i = 0; i < side; i++)
    for (let j = 0; j < side; j++) {
      const [row, column] = [windowStart(i, side, window), windowStart(j, side, window)];
      for (let r = row; r < row + window; r++)
        for (let c = column; c < column + window; c++) sum += data[(i * side + j) * columns + offset + r * side + c]!;
    }
  return sum;
}
