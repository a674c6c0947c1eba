import { dims, tf, type Tensor } from '@atelier/tensor';
import { selectionMask } from './select.ts';
import type { TileLayout } from './tile.ts';

/**
 * How much of the weights of dense attention lies on the keys of the selected tiles, as a mean over tokens: q [B, K, T, d], k [B, K, S, d], lists [B, K, n, keep]
 * -> [B, K], from 0 to 1. A choice at random gets about keep/m.
 *
 * For measurements: it computes all T × S weights.
 */
export function capturedMass(q: Tensor, k: Tensor, lists: Tensor, layout: TileLayout, keyLayout: TileLayout = layout): Tensor {
  const { B, K, d } = dims<'B' | 'K' | 'd'>(q, 'B K T d', 'capturedMass: q', { T: layout.tokens });
  dims(k, 'B K S d', 'capturedMass: k', { B, K, S: keyLayout.tokens, d });
  dims(lists, 'B K n keep', 'capturedMass: lists', { B, K, n: layout.tiles });
  return tf.tidy(() => {
    const weights = tf.softmax(tf.mul(tf.matMul(q, k, false, true), d ** -0.5)); // -> [B, K, T, S]
    const perTile = tf.matMul(weights, membership(keyLayout)); // -> [B, K, T, m]
    const mask = tf.cast(tf.gather(selectionMask(lists, keyLayout.tiles), tilesOfTokens(layout), 2), 'float32');
    return tf.mean(tf.sum(tf.mul(perTile, mask), 3), 2);
  });
}

/** [T] int32: the tile of each token. */
export const tilesOfTokens = ({ slots, volume }: TileLayout): Tensor =>
  tf.tensor1d(
    slots.map((slot) => Math.floor(slot / volume)),
    'int32',
  );

/** [S, m]: 1 where a token lies in a tile. */
const membership = (layout: TileLayout): Tensor => tf.oneHot(tilesOfTokens(layout) as tf.Tensor1D, layout.tiles, 1, 0, 'float32');
