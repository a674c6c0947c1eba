import { tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile, type Tolerance } from '@atelier/testkit';
import { expect } from 'vitest';
import { fromTiles, keepFor, selectionMask, tileIndices, vsaStages, type TileLayout, type VsaOptions } from '../../src/index.ts';
import { grid, logSumExp } from './layout.ts';

/** Relative to the largest value of a tensor; large logits lose one digit more. */
const VALUE = { max: 1e-5 };
const HOT = { max: 1e-4 };

/** Tokens [B, L, H, d] of a file <-> [B, H, L, d] here. */
const swap = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 1, 3]);

/** Whole attention: all stages, and gradients of the whole and of the fine stage alone; with and without a gate, on one grid and across grids. */
export function attentions(file: GoldenFile): number {
  const bound = file.name.startsWith('attn_hot') ? HOT : VALUE;
  const queryGrid = grid(file, 'video_shape');
  const keyGrid = 'kv_video_shape' in file.metadata ? grid(file, 'kv_video_shape') : queryGrid;
  const keep = Number(file.setting('topk'));
  const options: VsaOptions = { grid: queryGrid, keyGrid, tile: grid(file, 'tile'), keep };
  const [q, k, v] = ['q', 'k', 'v'].map((name) => swap(file.tensor(name))) as [Tensor, Tensor, Tensor];
  const gate = file.has('gate') ? swap(file.tensor('gate')) : undefined;
  const stages = vsaStages(q, k, v, gate === undefined ? options : { ...options, gate });
  const compare = (name: string, actual: Tensor, tolerance: Tolerance = bound): void =>
    expectClose(actual, file.host(name), tolerance, `${file.name}: ${name}`);

  expectIndices(file, '', stages.layout);
  if (file.has('kv_tile_index')) expectIndices(file, 'kv_', stages.keyLayout);
  if ('sparsity' in file.metadata) expect(keepFor(Number(file.setting('sparsity')), stages.keyLayout.tiles)).toBe(keep);
  compare('mask', selectionMask(stages.lists, stages.keyLayout.tiles), {});
  compare('scores', stages.scores);
  if (file.has('qc')) for (const name of ['q', 'k', 'v'] as const) compare(`${name}c`, stages.pooled[name]);
  if (file.has('probs')) compare('probs', tf.softmax(stages.scores));
  if (file.has('oc')) compare('oc', stages.coarse);
  if (file.has('oc_tokens')) compare('oc_tokens', swap(perToken(stages.coarse, stages.layout)));
  compare('os', swap(fromTiles(stages.fine, stages.layout)));
  if (file.has('lse')) compare('lse', tf.squeeze(swap(logSumExp(q, k, stages)), [3]));
  compare('out', swap(stages.out));

  const whole = gradients(file, { q, k, v, ...(gate && { gate }) }, options);
  for (const [name, gradient] of Object.entries(whole)) compare(`d${name}`, swap(gradient));
  if (!file.has('dq_fine')) return 1;
  const zero = tf.zerosLike(q);
  for (const [name, gradient] of Object.entries(gradients(file, { q, k, v }, { ...options, gate: zero })))
    compare(`d${name}_fine`, swap(gradient));
  return 2;
}

/** Gradients of Σ out·dout to the inputs. */
function gradients(file: GoldenFile, inputs: { q: Tensor; k: Tensor; v: Tensor; gate?: Tensor }, options: VsaOptions): typeof inputs {
  const dout = swap(file.tensor('dout'));
  return valueAndGrad((at: typeof inputs) => {
    const gated = at.gate === undefined ? options : { ...options, gate: at.gate };
    return { loss: tf.sum(tf.mul(vsaStages(at.q, at.k, at.v, gated).out, dout)), aux: {} };
  }, inputs).grads;
}

function expectIndices(file: GoldenFile, prefix: string, layout: TileLayout): void {
  expectClose(tileIndices(layout).partition, file.host(`${prefix}tile_index`).data, {}, `${file.name}: ${prefix}tile_index`);
  expectClose(layout.slots, file.host(`${prefix}untile_index`).data, {}, `${file.name}: ${prefix}untile_index`);
  expectClose(layout.sizes, file.host(`${prefix}block_sizes`).data, {}, `${file.name}: ${prefix}block_sizes`);
}

/** One row for each tile -> one for each token. */
function perToken(x: Tensor, layout: TileLayout): Tensor {
  const [B, K, n, d] = x.shape as [number, number, number, number];
  return fromTiles(tf.broadcastTo(tf.reshape(x, [B, K, n, 1, d]), [B, K, n, layout.volume, d]), layout);
}
