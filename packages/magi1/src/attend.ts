import { sliceAttention, type AttentionSlice } from '@atelier/nn';
import { tf, type Tensor } from '@atelier/tensor';
import type { SelfAttention } from './block.ts';

/** Keys and values of one cached chunk, layer by layer: each [B, nk, P, hd], P tokens of the chunk, keys after norm and rotation. */
export type LayerCache = { keys: Tensor[]; values: Tensor[] };

/**
 * Self-attention of a call on slices. In the spans of the slices, queries are counted from the first token of the call; keys from the first cached
 * token, and the tokens of the call come after the cached ones.
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
