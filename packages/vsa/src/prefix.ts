import { tf, type Tensor } from '@atelier/tensor';
import { fineStage } from './fine.ts';

/** Queries, keys and values, [B, K, T, d] each, or in tiles. */
type Inputs = { q: Tensor; k: Tensor; v: Tensor };

/** The tokens x [B, K, P + T, d] after the first P. */
export const afterPrefix = (x: Tensor, P: number): Tensor => (P === 0 ? x : tf.slice(x, [0, 0, P, 0], [-1, -1, -1, -1]));

/** The first P tokens, if there are any, and those of the video. */
export function splitPrefix({ q, k, v }: Inputs, P: number): [first: Inputs | undefined, video: Inputs] {
  const firstOf = (x: Tensor): Tensor => tf.slice(x, [0, 0, 0, 0], [-1, -1, P, -1]);
  const video = { q: afterPrefix(q, P), k: afterPrefix(k, P), v: afterPrefix(v, P) };
  return [P === 0 ? undefined : { q: firstOf(q), k: firstOf(k), v: firstOf(v) }, video];
}

/**
 * The fine stage of a video with tokens before it. Their keys are tiles that every query tile selects in addition, so one softmax is over both.
 *
 * @param tiles of the video, q [B, K, n, E, d], k and v [B, K, m, E, d]
 * @param first the tokens before it, k and v [B, K, P, d]
 * @param lists [B, K, n, keep] int32
 * @param sizes [m] real tokens of the video's key tiles
 * @returns [B, K, n, E, d]
 */
export function fineStageWithPrefix(tiles: Inputs, first: Omit<Inputs, 'q'>, lists: Tensor, sizes: Int32Array): Tensor {
  const [B, K, n, E, d] = tiles.q.shape as [number, number, number, number, number];
  const P = first.k.shape[2]!;
  const more = Math.ceil(P / E);
  const inFront = (x: Tensor, own: Tensor): Tensor => {
    const whole = tf.concat([x, tf.zeros([B, K, more * E - P, d])], 2);
    return tf.concat([tf.reshape(whole, [B, K, more, E, d]), own], 2);
  };
  const always = tf.tile(tf.reshape(tf.range(0, more, 1, 'int32'), [1, 1, 1, more]), [B, K, n, 1]);
  const chosen = tf.concat([always, tf.add(lists, tf.scalar(more, 'int32'))], 3);
  const allSizes = Int32Array.from([...Array.from({ length: more }, (_, i) => Math.min(E, P - i * E)), ...sizes]);
  return fineStage(tiles.q, inFront(first.k, tiles.k), inFront(first.v, tiles.v), chosen, allSizes);
}
