import { linear } from '@atelier/nn';
import { dims, scan, tf, type Tensor } from '@atelier/tensor';
import { conditionRows, type BlockParams, type Mixer } from './block.ts';
import type { TarFlowConfig } from './config.ts';
import type { Guidance } from './guidance.ts';

/**
 * Tokens that one loop makes. The keys and values that it makes lie in a window of that size, copied at every token; those of earlier loops
 * lie still. A short window is copied fast, few loops make a small graph.
 */
const WINDOW = 64;

/** Keys and values of a layer, [R, 1, K, t, d]: a row for each branch of each sample. */
type Cache = { keys: Tensor; values: Tensor };

/**
 * Block k from noise to data, exactly: z [B, T, D] -> x [B, T, D], both in the block's own order.
 *
 * x_0 = z_0, and then token by token x_{i+1} = z_{i+1} ⊙ exp(α°_i) + μ°_i, where α°_i and μ°_i come from x_0 … x_i (apple/ml-tarflow
 * transformer_flow.py:239). Only token i is computed at step i: the keys and values of those before it are kept. On an engine with a graph
 * the tokens run inside a few loops of it. With guidance both branches go side by side, as twice as many rows.
 * @param context what `tokenContext` gives for the labels [1 or B, T, W]
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
  let past: Cache[] | null = null;
  for (let from = 0; from < T - 1;) {
    const size = Math.min(WINDOW, T - 1 - from);
    const old: Cache[] | null = past;
    const empty = tf.zeros([R, 1, W / d, size, d]);
    const loop = scan(
      ({ x, window }: { x: Tensor; window: Cache[] }, at: Record<string, Tensor>) => {
        const next: Cache[] = [];
        const scale = guidance && branchScales(guidance.inverseTemperature, B);
        const mix: Mixer = (u, a, l) => {
          // One token a row, so that the heads need no transpose: [R, 3W] -> three of [R, 1, K, 1, d].
          const [q, k, v] = tf.split(tf.reshape(linear(a.qkv, u), [R, 3, W / d, 1, d]), 3, 1) as [Tensor, Tensor, Tensor];
          next.push({ keys: push(window[l]!.keys, k), values: push(window[l]!.values, v) });
          const queries = scale === undefined ? q : tf.mul(q, scale);
          return tf.reshape(attend(queries, next[l]!, old?.[l], at.mask!, d ** -0.5), [R, W]);
        };
        const embedded = linear(p.proj_in, x); // [B, D] -> [B, W]
        const h = tf.add(guidance === undefined ? embedded : tf.concat([embedded, embedded], 0), at.context!);
        const raw = conditionRows(p, h, config, mix);
        const { alpha, mu } = guidance === undefined ? raw : guided(raw, at.weights!);
        const made = tf.add(tf.mul(at.noise!, tf.exp(alpha)), mu);
        return { carry: { x: made, window: next }, collect: made };
      },
      { x, window: p.attn_blocks.map((): Cache => ({ keys: empty, values: empty })) },
      {
        noise: tf.slice(noise, from + 1, size),
        context: tf.slice(contexts, from, size),
        mask: windowMask(size),
        ...(guidance && { weights: tf.slice(guidance.weights, from, size) }),
      },
    );
    x = loop.carry.x;
    made.push(loop.collected);
    past = loop.carry.window.map((window, l) => (old === null ? window : join(old[l]!, window)));
    from += size;
  }
  return tf.transpose(tf.concat(made, 0), [1, 0, 2]); // [T, B, D] -> [B, T, D]
}

/** Softmax over the tokens of earlier loops and those of the window that there are already. */
function attend(q: Tensor, window: Cache, old: Cache | undefined, mask: Tensor, scale: number): Tensor {
  const near = tf.minimum(tf.mul(tf.matMul(q, window.keys, false, true), scale), mask); // -> [R, 1, K, 1, window]
  if (old === undefined) return tf.matMul(tf.softmax(near), window.values);
  const far = tf.mul(tf.matMul(q, old.keys, false, true), scale); // -> [R, 1, K, 1, t]
  const weights = tf.softmax(tf.concat([far, near], 4));
  const [ofOld, ofWindow] = tf.split(weights, [far.shape[4]!, near.shape[4]!], 4) as [Tensor, Tensor];
  return tf.add(tf.matMul(ofOld, old.values), tf.matMul(ofWindow, window.values)); // -> [R, 1, K, 1, d]
}

/** The window moved on by one token: the newest stands last. */
function push(window: Tensor, newest: Tensor): Tensor {
  const [R, , K, size, d] = window.shape as [number, number, number, number, number];
  return size === 1 ? newest : tf.concat([tf.slice(window, [0, 0, 0, 1, 0], [R, 1, K, size - 1, d]), newest], 3);
}

const join = (a: Cache, b: Cache): Cache => ({ keys: tf.concat([a.keys, b.keys], 3), values: tf.concat([a.values, b.values], 3) });

/** What the logits of step i stay below, one row for each step: -∞ but for the last i + 1 places of the window, which are filled. */
function windowMask(size: number): Tensor {
  const values = Float32Array.from({ length: size * size }, (_, at) =>
    at % size < size - 1 - Math.floor(at / size) ? -Infinity : Infinity,
  );
  return tf.tensor2d(values, [size, size]);
}

/** Contexts of all rows: of branch c, and then of branch u. */
function branchContexts(context: Tensor, B: number, guidance: Guidance | undefined): Tensor {
  if (guidance === undefined) return context;
  const [, T, W] = context.shape as [number, number, number];
  return tf.concat([tf.broadcastTo(context, [B, T, W]), tf.broadcastTo(guidance.context, [B, T, W])], 0); // -> [2B, T, W]
}

/** What the queries of branch c (1) and of branch u (1/τ) are multiplied by: [2B, 1, 1, 1, 1]. */
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
