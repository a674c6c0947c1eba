import { dims, tf, type Tensor } from '@atelier/tensor';
import { selectionMask } from './select.ts';

/**
 * The lists of query tiles the other way round: which query tiles attend to a key tile. Their lengths differ from tile to tile, and a graph has fixed shapes. So
 * they are cut into units of at most R query tiles of one key tile, and there is room for as many units as any choice can need.
 */
export type TransposedLists = {
  /** [U] int32: key tile of each unit, counted over all batch entries and heads; units of a tile follow each other. */
  keyTile: Tensor;
  /** [U, R] int32: 1 + query tile, counted over all batch entries and heads; 0 for a free place. */
  queryTiles: Tensor;
  /** [B·K·m] int32: the last unit of each key tile. If the tile has none, this is a unit of another tile. */
  lastUnit: Tensor;
  /** [B·K·m] float32: 1 if a query tile attends to the key tile, else 0. */
  attended: Tensor;
  /** Units that are computed together; it divides U. */
  together: number;
};

/** Query tiles of a unit for `keep` selected tiles: a quarter, so that places that stay free are less than a fifth of all. */
export const unitSize = (keep: number): number => Math.max(1, Math.floor(keep / 4));

/**
 * @param lists selected key tiles, [B, K, n, keep] int32
 * @param tiles number of key tiles, m
 * @param most largest number of units that are computed together; the number of units becomes a multiple of the one that is used
 */
export function transposeLists(lists: Tensor, tiles: number, most: number): TransposedLists {
  const { B, K, n, keep } = dims<'B' | 'K' | 'n' | 'keep'>(lists, 'B K n keep', 'transposeLists: lists');
  const [G, R] = [B * K, unitSize(keep)];
  // Σ ⌈c/R⌉ <= Σ (c + R - 1)/R over the m tiles, whose counts c add up to n·keep.
  const units = G * Math.floor((n * keep + tiles * (R - 1)) / R);
  const steps = Math.ceil(units / most);
  const together = Math.ceil(units / steps);
  const U = steps * together;
  const int = (x: number): Tensor => tf.scalar(x, 'int32');

  const mask = tf.reshape(selectionMask(lists, tiles), [G, n, tiles]);
  const counts = tf.reshape(tf.sum(mask, 1), [G * tiles]);
  const unitsOf = tf.floorDiv(tf.add(counts, int(R - 1)), int(R)); // [G·m]
  const unitsUpTo = tf.cumsum(unitsOf); // [G·m], this tile's included
  const firstUnit = tf.sub(unitsUpTo, unitsOf);

  // Place of each pair of a query tile and a key tile: as many places after the first of its key tile as there are earlier query tiles in the list.
  const earlier = tf.reshape(tf.cumsum(mask, 1, true), [G * n * tiles]);
  const group = tf.reshape(tf.range(0, G, 1, 'int32'), [G, 1, 1]);
  const chosen = tf.reshape(lists, [G, n, keep]);
  const keyTiles = tf.add(chosen, tf.mul(group, int(tiles))); // counted over all groups
  const queryTile = tf.reshape(tf.range(0, G * n, 1, 'int32'), [G, n, 1]);
  const pair = tf.add(tf.mul(queryTile, int(tiles)), chosen);
  const place = tf.add(tf.mul(tf.gather(firstUnit, keyTiles), int(R)), tf.gather(earlier, pair));
  const entry = tf.add(tf.mul(tf.onesLike(chosen), queryTile), int(1));
  const pairs = G * n * keep;
  const flat = tf.scatterND(tf.reshape(place, [pairs, 1]) as tf.Tensor2D, tf.reshape(entry, [pairs]), [U * R]);

  // A unit belongs to the tile before which all tiles' units have ended. Free units at the end are given to the last tile; their places are empty.
  const firsts = tf.scatterND(tf.reshape(tf.minimum(unitsUpTo, int(U)), [G * tiles, 1]) as tf.Tensor2D, tf.ones([G * tiles], 'int32'), [
    U + 1,
  ]);
  const keyTile = tf.minimum(tf.slice(tf.cumsum(firsts), [0], [U]), int(G * tiles - 1));
  return {
    keyTile,
    queryTiles: tf.reshape(flat, [U, R]),
    lastUnit: tf.maximum(tf.sub(unitsUpTo, int(1)), int(0)),
    attended: tf.cast(tf.greater(counts, int(0)), 'float32'),
    together,
  };
}
