import { attendCached, joinKeyValues, linear, pushKeyValue, windowMask, type KeyValueCache } from '@atelier/nn';
import { dims, scan, tf, type Tensor } from '@atelier/tensor';
import { conditionRows, type BlockParams, type Mixer } from './block.ts';
import type { TarFlowConfig } from './config.ts';
import type { Guidance } from './guidance.ts';

/**
 * Number of tokens that one loop makes. Its keys and values are in a window of that size, which is copied at every token; those of earlier loops are not
 * copied. A short window is copied fast; few loops make a small graph.
 */
const WINDOW = 64;

/**
 * Block k from noise to data, exactly: z [B, T, D] -> x [B, T, D], both in the block's own order.
 *
 * x_0 = z_0, and then token by token x_{i+1} = z_{i+1} ⊙ exp(α°_i) + μ°_i, where α°_i and μ°_i come from x_0 … x_i (apple/ml-tarflow
 * transformer_flow.py:239). Only token i is computed at step i: the keys and values of those before it are kept. On an engine with a graph
 * the tokens run inside a few loops of the graph. With guidance both branches run together, as twice as many rows.
 * @param context the result of `tokenContext` for the labels [1 or B, T, W]
 */
export function reverseBlock(
  p: BlockParams,
  z: Tensor,
  config: TarFlowConfig,
  { context, guidance }: { context: Tensor; guidance?: Guidance },
): Tensor {
  const { B, T, D } = dims<'B' | 'T' | 'D'>(z, 'B T D', 'reverseBlock: z');
  const { width: W, headSize: d } = config;
  dims(context, 'rows T W', 'reverseBlock: context', { T, W });
  const R = guidance === undefined ? B : 2 * B;
  const [noise, contexts] = [z, branchContexts(context, B, guidance)].map((x) => tf.transpose(x, [1, 0, 2])) as [Tensor, Tensor]; // -> [T, B or R, …]
  let x = tf.reshape(tf.slice(noise, 0, 1), [B, D]);
  const made = [tf.expandDims(x, 0)];
  let past: KeyValueCache[] | null = null;
  for (let from = 0; from < T - 1;) {
    const size = Math.min(WINDOW, T - 1 - from);
    const old: KeyValueCache[] | null = past;
    const empty = tf.zeros([R, 1, W / d, size, d]);
    const loop = scan(
      ({ x, window }: { x: Tensor; window: KeyValueCache[] }, at: Record<string, Tensor>) => {
        const next: KeyValueCache[] = [];
        const scale = guidance && branchScales(guidance.inverseTemperature, B);
        const mix: Mixer = (u, a, l) => {
          // One token a row, so that the heads need no transpose: [R, 3W] -> three of [R, 1, K, 1, d].
          const [q, k, v] = tf.split(tf.reshape(linear(a.qkv, u), [R, 3, W / d, 1, d]), 3, 1) as [Tensor, Tensor, Tensor];
          next.push({ keys: pushKeyValue(window[l]!.keys, k), values: pushKeyValue(window[l]!.values, v) });
          const queries = scale === undefined ? q : tf.mul(q, scale);
          return tf.reshape(attendCached(queries, next[l]!, old?.[l], at.mask!, d ** -0.5), [R, W]);
        };
        const embedded = linear(p.proj_in, x); // [B, D] -> [B, W]
        const h = tf.add(guidance === undefined ? embedded : tf.concat([embedded, embedded], 0), at.context!);
        const raw = conditionRows(p, h, config, mix);
        const { alpha, mu } = guidance === undefined ? raw : guided(raw, at.weights!);
        const made = tf.add(tf.mul(at.noise!, tf.exp(alpha)), mu);
        return { carry: { x: made, window: next }, collect: made };
      },
      { x, window: p.attn_blocks.map((): KeyValueCache => ({ keys: empty, values: empty })) },
      {
        noise: tf.slice(noise, from + 1, size),
        context: tf.slice(contexts, from, size),
        mask: windowMask(size),
        ...(guidance && { weights: tf.slice(guidance.weights, from, size) }),
      },
    );
    x = loop.carry.x;
    made.push(loop.collected);
    past = loop.carry.window.map((window, l) => (old === null ? window : joinKeyValues(old[l]!, window)));
    from += size;
  }
  return tf.transpose(tf.concat(made, 0), [1, 0, 2]); // [T, B, D] -> [B, T, D]
}

/** Contexts of all rows: of branch c, and then of branch u. */
function branchContexts(context: Tensor, B: number, guidance: Guidance | undefined): Tensor {
  if (guidance === undefined) return context;
  const [, T, W] = context.shape as [number, number, number];
  return tf.concat([tf.broadcastTo(context, [B, T, W]), tf.broadcastTo(guidance.context, [B, T, W])], 0); // -> [2B, T, W]
}

/** Factors of the queries: 1 for branch c and 1/τ for branch u. [2B, 1, 1, 1, 1]. */
function branchScales(inverseTemperature: Tensor, B: number): Tensor {
  const scales = tf.concat([tf.ones([B]), tf.fill([B], 1).mul(inverseTemperature)], 0);
  return tf.reshape(scales, [2 * B, 1, 1, 1, 1]);
}

/** [2B, D] of both branches and the weights [2] of α and μ -> [B, D]. */
function guided(raw: { alpha: Tensor; mu: Tensor }, weights: Tensor): { alpha: Tensor; mu: Tensor } {
  const [forAlpha, forMu] = tf.split(weights, 2) as [Tensor, Tensor];
  const apply = (both: Tensor, weight: Tensor): Tensor => {
    const [c, u] = tf.split(both, 2, 0) as [Tensor, Tensor];
    return tf.add(c, tf.mul(tf.sub(c, u), weight));
  };
  return { alpha: apply(raw.alpha, forAlpha), mu: apply(raw.mu, forMu) };
}
