import { dims, scan, tf, type Tensor } from '@atelier/tensor';
import { selectionMask } from './select.ts';

/**
 * The lists of selected tiles the other way round. A pair is a query tile and a key tile that it attends to: pair p is entry p mod keep of the list of query
 * tile ⌊p/keep⌋, counted over all batch entries and heads. Here pairs are sorted by key tile.
 */
export type TransposedLists = {
  /** [P] int32: all pairs, those of a key tile side by side and sorted by query tile. */
  order: Tensor;
  /** [B·K·m] int32: the place in `order` where the pairs of each key tile begin. */
  first: Tensor;
  /** [B·K·m] int32: how many they are. */
  counts: Tensor;
};

/** Rows that are added up in one product. More rows mean fewer passes over the sums, but more products with places that stay free. */
const ROWS = 16;

/** Bytes of rows that are added up at a time. */
const SUM_BYTES = 4 << 20;

/**
 * @param lists selected key tiles, [B, K, n, keep] int32
 * @param tiles number of key tiles, m
 */
export function transposeLists(lists: Tensor, tiles: number): TransposedLists {
  const { B, K, n, keep } = dims<'B' | 'K' | 'n' | 'keep'>(lists, 'B K n keep', 'transposeLists: lists');
  const G = B * K;
  const mask = tf.reshape(selectionMask(lists, tiles), [G, n, tiles]);
  const counts = tf.reshape(tf.sum(mask, 1), [G * tiles]);
  const first = tf.cumsum(counts, 0, true);

  // Place of a pair: as many places after the first of its key tile as there are earlier query tiles in the list.
  const earlier = tf.reshape(tf.cumsum(mask, 1, true), [G * n * tiles]);
  const chosen = tf.reshape(lists, [G, n, keep]);
  const keyTiles = tf.add(chosen, tf.mul(range([G, 1, 1]), int(tiles))); // counted over all groups
  const entries = tf.add(chosen, tf.mul(range([G, n, 1]), int(tiles))); // of the mask
  const places = tf.add(tf.gather(first, keyTiles), tf.gather(earlier, entries));
  const pairs = G * n * keep;
  const order = tf.scatterND(tf.reshape(places, [pairs, 1]) as tf.Tensor2D, range([pairs]), [pairs]);
  return { order, first, counts };
}

/**
 * Sums of the rows of each key tile: rows [P, W], one for each pair -> [B·K·m, W], zeros for a tile without pairs.
 *
 * Tiles have different numbers of rows, and a graph has fixed shapes. So runs are cut into units of at most 16 rows, and there is room for as many units as any
 * choice can need. Each unit is added up, and then the sums of the units of a tile, until every tile is one unit.
 *
 * @param longest the most rows that a key tile can have
 */
export function sumOfPairs(rows: Tensor, { order, first, counts }: TransposedLists, longest: number): Tensor {
  let [sums, runs, most] = [rows, { first, counts }, longest];
  let from: Tensor | undefined = order;
  while (most > ROWS) {
    const units = unitsOf(runs, sums.shape[0]!);
    sums = sumUnits(sums, from, units, ROWS);
    [runs, most, from] = [units.runs, Math.ceil(most / ROWS), undefined];
  }
  return sumUnits(sums, from, { begin: runs.first, end: tf.add(runs.first, runs.counts) }, most);
}

/** Rows of a key tile that follow each other: [M] int32 each. */
type Runs = { first: Tensor; counts: Tensor };
/** The rows of a unit, from `begin` to before `end` or fewer: [U] int32 each. */
type Units = { begin: Tensor; end: Tensor };

/** Runs of altogether at most P rows in units of at most `ROWS` rows; and the runs of their sums. */
function unitsOf({ first, counts }: Runs, P: number): Units & { runs: Runs } {
  const M = first.shape[0]!;
  // Σ ⌈c/R⌉ <= Σ (c + R - 1)/R over the M tiles, whose counts c add up to at most P.
  const U = Math.floor((P + M * (ROWS - 1)) / ROWS);
  const each = tf.floorDiv(tf.add(counts, int(ROWS - 1)), int(ROWS));
  const upTo = tf.cumsum(each); // this tile's included
  // A unit belongs to the tile before which all tiles' units have ended. Free units at the end are given to the last tile, and have no rows.
  const ends = tf.scatterND(tf.reshape(tf.minimum(upTo, int(U)), [M, 1]) as tf.Tensor2D, tf.ones([M], 'int32'), [U + 1]);
  const tile = tf.minimum(tf.slice(tf.cumsum(ends), [0], [U]), int(M - 1));
  const firstUnit = tf.sub(upTo, each);
  const earlier = tf.sub(range([U]), tf.gather(firstUnit, tile));
  const begin = tf.add(tf.gather(first, tile), tf.mul(earlier, int(ROWS)));
  return { begin, end: tf.gather(tf.add(first, counts), tile), runs: { first: firstUnit, counts: each } };
}

/** The sum of the rows of each unit, [U, W]. `order` says which row stands at each place; without it, rows stand in order. */
function sumUnits(rows: Tensor, order: Tensor | undefined, { begin, end }: Units, R: number): Tensor {
  const [P, W] = rows.shape as [number, number];
  const U = begin.shape[0]!;
  const steps = Math.ceil(U / Math.max(1, Math.floor(SUM_BYTES / (4 * R * W))));
  const together = Math.ceil(U / steps);
  const padded = (x: Tensor): Tensor => tf.reshape(tf.pad(x, [[0, steps * together - U]]), [steps * together, 1]);
  const places = tf.add(padded(begin), range([1, R]));
  const isRow = tf.less(places, padded(end));
  // At a free place the first row of the unit is read again, with weight 0.
  const read = tf.where(isRow, places, tf.minimum(padded(begin), int(P - 1)));
  const { collected } = scan(
    (_, { which, weights }) => ({ carry: {}, collect: tf.matMul(weights!, tf.gather(rows, which!)) }), // [t, 1, R]·[t, R, W]
    {},
    {
      which: tf.reshape(order === undefined ? read : tf.gather(order, read), [steps, together, R]),
      weights: tf.reshape(tf.cast(isRow, 'float32'), [steps, together, 1, R]),
    },
  );
  return tf.slice(tf.reshape(collected, [steps * together, W]), [0, 0], [U, W]);
}

const int = (x: number): Tensor => tf.scalar(x, 'int32');

/** Whole numbers from 0 in order, in any shape. */
const range = (shape: number[]): Tensor =>
  tf.reshape(
    tf.range(
      0,
      shape.reduce((a, b) => a * b, 1),
      1,
      'int32',
    ),
    shape,
  );
