import { mergeAttention, sliceAttention, sliceAttentionPart, sliceMask, type AttentionSlice, type SliceKind } from '@atelier/nn';
import { tf, toTensor, type HostTensor, type Tensor } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';

const kinds: SliceKind[] = ['full', 'causal', 'inverse-causal', 'bi-causal'];

/** The slice lists of a file by name. */
function slicesOf(file: GoldenFile): Record<string, AttentionSlice[]> {
  const names = file.keys().flatMap((key) => (key.endsWith('.types') ? [key.slice(0, -'.types'.length)] : []));
  return Object.fromEntries(
    names.map((name) => {
      const [q, k] = ['q_ranges', 'k_ranges'].map((which) => file.host(`${name}.${which}`).data);
      const types = Array.from(file.host(`${name}.types`).data);
      const span = (of: ArrayLike<number>, i: number): [number, number] => [of[2 * i]!, of[2 * i + 1]!];
      return [name, types.map((type, i) => ({ queries: span(q!, i), keys: span(k!, i), kind: kinds[type]! }))];
    }),
  );
}

export function sliceMasks(file: GoldenFile): number {
  const lists = Object.entries(slicesOf(file));
  for (const [name, slices] of lists) {
    const { shape, data } = file.host(`${name}.mask`);
    expect(Array.from(sliceMask(slices, shape[0]!, shape[1]!)), name).toEqual(Array.from(data));
  }
  return lists.length;
}

/** [T, K, d] of a file -> [1, K, T, d], and back. */
const heads = (host: HostTensor): Tensor => tf.expandDims(tf.transpose(toTensor(host), [1, 0, 2]), 0);
const tokens = (x: Tensor): Tensor => tf.transpose(tf.squeeze(x, [0]), [1, 0, 2]);
const perQuery = (lse: Tensor): Tensor => tf.transpose(tf.squeeze(lse, [0]), [1, 0]);

export function sliceAttentions(file: GoldenFile, all: Golden): number {
  const lists = Object.entries(slicesOf(all.load('ffa_masks'))).filter(([name]) => file.has(`${name}.out`));
  for (const [name, slices] of lists) {
    const [q, k, v, dout] = ['q', 'k', 'v', 'dout'].map((key) => heads(file.host(`${name}.${key}`))) as [Tensor, Tensor, Tensor, Tensor];
    const { value, grads } = tf.valueAndGrads((a: Tensor, b: Tensor, c: Tensor) => sliceAttention(a, b, c, slices))([q, k, v], dout);
    const check = (x: Tensor, key: string): void => expectClose(x, file.host(`${name}.${key}`), { abs: 1e-5 }, `${name}.${key}`);
    check(tokens(value), 'out');
    ['dq', 'dk', 'dv'].forEach((key, i) => check(tokens(grads[i]!), key));
    check(perQuery(sliceAttentionPart(q, k, v, slices).lse), 'lse');
    if (!file.has(`${name}.merged_out`)) continue;
    const merged = mergeAttention(slices.map((slice) => sliceAttentionPart(q, k, v, [slice])));
    check(tokens(merged.out), 'merged_out');
    check(perQuery(merged.lse), 'merged_lse');
  }
  return lists.length;
}
