import { attention, linear, mergeHeads } from '@atelier/nn';
import { flattenTree, tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import {
  headNorm,
  modulation,
  mvarAttention,
  mvarBlock,
  mvarConfig,
  neighborhoodAttention,
  neighborhoodIndex,
  projections,
  scalesOf,
  type MvarAttentionParams,
  type MvarBlockParams,
} from '../../src/index.ts';
import { visiblePairs } from '../visible.ts';
import { json, treeOf } from './layout.ts';
import { modelOf } from './network.ts';

/** Which pairs see each other, the level of every token, and the keys of every query of a window. */
export function masks(file: GoldenFile, all: Golden): number {
  const config = modelOf(all, 'mvar');
  const ladder = json<number[]>(file, 'patch_nums');
  const levels = scalesOf(ladder).flatMap(({ index, tokens }) => new Array<number>(tokens).fill(index));
  expect(Array.from(file.host('lvl_1L').data)).toEqual(levels);
  for (const kind of ['var', 'mvar'] as const) {
    // The official mask of MVAR is that of the packed scales alone: windows are another kernel's.
    const dense = { ...modelOf(all, kind), ladder, refineStep: ladder.length };
    expectClose(visiblePairs(dense), file.host(`${kind}_allowed`).data, {}, `${kind}_allowed`);
  }
  expect(config.refineStep).toBeLessThan(ladder.length);
  const tables = file.keys('na_index_');
  for (const key of tables) {
    const [, H, W, kernel] = /^na_index_(\d+)x(\d+)_k(\d+)$/.exec(key)!.map(Number);
    expectClose(neighborhoodIndex({ H: H!, W: W!, kernel: kernel! }), file.host(key).data, {}, key);
  }
  return tables.length + 2;
}

/** Window attention and its gradients against NATTEN, in tiles of every size. */
export function neighborhoods(file: GoldenFile): number {
  const scale = Number(file.setting('scale'));
  const names = [...new Set(file.keys().map((key) => key.split('.')[0]!))];
  for (const name of names) {
    const [, H, W, kernel] = /^(\d+)x(\d+)_k(\d+)$/.exec(name)!.map(Number) as [number, number, number, number];
    // [B, H, W, h, d] <-> [B, h, H·W, d]
    const toHeads = (x: Tensor): Tensor => tf.transpose(tf.reshape(x, [x.shape[0]!, H * W, x.shape[3]!, -1]), [0, 2, 1, 3]);
    const read = (key: string): Tensor => toHeads(file.tensor(`${name}.${key}`));
    const inputs = [read('q'), read('k'), read('v')];
    for (const [rows, columns] of [undefined, [1, 1], [3, 2], [4, W], [H, W]].map((tile) => tile ?? [])) {
      const tile = rows && columns ? `${rows} x ${columns}` : 'default';
      const run = (q: Tensor, k: Tensor, v: Tensor): Tensor =>
        neighborhoodAttention(q, k, v, { H, W, kernel }, { scale, ...(rows && columns && { tile: { rows, columns } }) });
      const { value, grads } = tf.valueAndGrads(run as (...of: Tensor[]) => Tensor)(inputs, read('cot'));
      expectClose(value, read('out'), { abs: 1e-5 }, `${name}, tile ${tile}`);
      (['q', 'k', 'v'] as const).forEach((key, i) =>
        expectClose(grads[i]!, read(`grad_${key}`), { abs: 1e-5 }, `${name}, tile ${tile}: gradient of ${key}`),
      );
    }
  }
  return names.length;
}

/** One attention layer over a square grid: normalized and plain, dense and in windows, with all gradients. */
export function attentionUnits(file: GoldenFile, all: Golden): number {
  const side = Number(file.setting('hw'));
  const heads = Number(file.setting('num_heads'));
  const kernel = Number(file.setting('kernel_size'));
  let cases = 0;
  for (const kind of ['l2', 'plain'])
    for (const [extent, refineStep] of [
      ['full', 2],
      ['na', 1],
    ] as const) {
      const config = mvarConfig.parse({ ...modelOf(all, 'mvar'), ladder: [1, side], heads, kernelSize: kernel, refineStep });
      const at = { w: treeOf(file.tensors(`${kind}.w.`)), x: file.tensor(`${kind}.x`) };
      const cotangent = file.tensor(`${kind}.cot`);
      const { aux, grads } = valueAndGrad((v: typeof at) => {
        const { out } = mvarAttention(v.w as unknown as MvarAttentionParams, v.x, { range: { first: 1, end: 2 } }, config);
        return { loss: tf.sum(tf.mul(out, cotangent)), aux: { out } };
      }, at);
      const name = `${kind}.${extent}`;
      expectClose(aux.out, file.host(`${name}.out`), { abs: 1e-4 }, name);
      const got: Record<string, Tensor> = { ...flattenTree(grads.w), x: grads.x };
      const wanted = file.tensors(`${name}.grad.`);
      expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort());
      for (const [key, gradient] of Object.entries(wanted)) expectClose(got[key]!, gradient, { max: 5e-5 }, `${name}.grad.${key}`);
      cases++;
    }
  return cases;
}

/** Blocks with a modulation of their own and a shared one, and the norm before the head. */
export function adaptiveUnits(file: GoldenFile): number {
  const heads = Number(file.setting('num_heads'));
  const kinds = ['sep', 'shared'];
  for (const kind of kinds) {
    const p = treeOf(file.tensors(`${kind}.w.`)) as unknown as MvarBlockParams;
    const x = file.tensor(`${kind}.x`);
    const vectors = modulation(p, file.tensor(`${kind}.cond`));
    const out = mvarBlock(p, x, vectors, (u) => dense(p.attn, u, heads));
    expectClose(out, file.host(`${kind}.out`), { max: 2e-5 }, kind);
  }
  const head = treeOf(file.tensors('head_nm.w.')) as unknown as Parameters<typeof headNorm>[0];
  expectClose(headNorm(head, file.tensor('head_nm.x'), file.tensor('head_nm.cond')), file.host('head_nm.out'), { max: 2e-5 }, 'head_nm');
  return kinds.length + 1;
}

/** Attention among all of a few tokens, whose number need not be that of a scale. */
function dense(p: MvarAttentionParams, x: Tensor, heads: number): Tensor {
  const { q, k, v, scale } = projections(p, x, heads);
  return linear(p.proj, mergeHeads(attention(q, k, v, { scale })));
}
