import { sliceAttention, type AttentionSlice } from '@atelier/nn';
import { tf, type Tensor } from '@atelier/tensor';
import type { SelfAttention } from './block.ts';

/** Keys and values of cached chunks, layer by layer: each [B, nk, t, hd], after norm and rotation. */
export type LayerCache = { keys: Tensor[]; values: Tensor[] };

/**
 * Self-attention on slices. Keys are counted from the first cached token, then come the tokens of the call.
 *
 * @param caches cached chunks, in the order of their tokens
 */
export function attendSlices(slices: readonly AttentionSlice[], caches: readonly LayerCache[] = []): SelfAttention {
  return (q, k, v, layer) => {
    const [keys, values] = (['keys', 'values'] as const).map((name) => {
      const own = name === 'keys' ? k : v;
      return caches.length === 0 ? own : tf.concat([...caches.map((cache) => cache[name][layer]!), own], 2);
    });
    return sliceAttention(q, keys!, values!, slices);
  };
}
