import { attention, takeSpans, type Span } from '@atelier/nn';
import { checkNumber, customGradient, dims, tf, type Tensor } from '@atelier/tensor';

/** A grid of H × W tokens, row by row, and `kernel` k, the side of the window that each of them sees. */
export type Neighborhood = { H: number; W: number; kernel: number };

/**
 * First row (or column) of the window of a token in row (or column) i, on an axis of `side` tokens: i - ⌊k/2⌋, moved inwards at the borders, so that every
 * window has k rows (NATTEN's rule: a window is shifted, never cut).
 */
export function windowStart(i: number, side: number, kernel: number): number {
  return Math.min(Math.max(i - Math.floor(kernel / 2), 0), side - kernel);
}

/** The indices of the keys of every query: [H·W, k²], queries row by row, and the keys of a window row by row. */
export function neighborhoodIndex(area: Neighborhood): Int32Array {
  checkNeighborhood(area, 'neighborhoodIndex');
  const { H, W, kernel: k } = area;
  const out = new Int32Array(H * W * k * k);
  let next = 0;
  for (let i = 0; i < H; i++)
    for (let j = 0; j < W; j++)
      for (let r = windowStart(i, H, k), row = r; row < r + k; row++)
        for (let c = windowStart(j, W, k), column = c; column < c + k; column++) out[next++] = row * W + column;
  return out;
}

/** @throws Error unless the window fits into the grid */
export function checkNeighborhood({ H, W, kernel }: Neighborhood, where: string): void {
  for (const [name, side] of Object.entries({ H, W })) checkNumber(`${where}: ${name}`, side, { integer: true, min: 1 });
  checkNumber(`${where}: kernel`, kernel, { integer: true, min: 1 });
  if (kernel > Math.min(H, W)) throw new Error(`${where}: kernel: wanted at most the smaller side of ${H} x ${W} tokens, got ${kernel}`);
}

/** How many rows and columns of queries are processed together. */
export type Tile = { rows: number; columns: number };

/** A part of one axis: queries start … start + size - 1, and all keys that at least one of them sees, keyStart … keyStart + keySize - 1. */
type Part = { start: number; size: number; keyStart: number; keySize: number };

/** Bands: the rows cut into parts of `size`, the last may be smaller. Each has only the key rows that its queries see. */
function bandsOf(side: number, kernel: number, size: number): Part[] {
  return Array.from({ length: Math.ceil(side / size) }, (_, n) => {
    const start = n * size;
    const end = Math.min(side, start + size);
    const keyStart = windowStart(start, side, kernel);
    return { start, size: end - start, keyStart, keySize: windowStart(end - 1, side, kernel) + kernel - keyStart };
  });
}

/**
 * The columns cut into parts that all have the same size, so that they can be multiplied as one batch. For this, the last part is moved inwards and may overlap
 * the part before, and at the borders the keys are moved inwards too.
 */
function columnsOf(side: number, kernel: number, size: number): Part[] {
  const count = Math.ceil(side / size);
  const even = Math.ceil(side / count);
  const keySize = Math.min(side, even + kernel - 1);
  return Array.from({ length: count }, (_, n) => {
    const start = Math.min(n * even, side - even);
    return { start, size: even, keyStart: Math.min(windowStart(start, side, kernel), side - keySize), keySize };
  });
}

/**
 * The size of a tile. In a large tile, a query is multiplied with more keys that it does not see; small tiles copy more keys and have smaller
 * products. These sizes were the fastest of those tried for windows of 7 × 7, forward and backward: whole rows for up to 16 columns, which need no
 * copy token by token, and 8 × 8 above.
 */
export function tileOf({ H, W }: Neighborhood): Tile {
  return W <= 16 ? { rows: Math.min(H, 4), columns: W } : { rows: Math.min(H, 8), columns: 8 };
}

/** How many pairs of query and key are multiplied with tiles of this size. With tiles of one query, these are just the pairs that see each other. */
export function tiledPairs(area: Neighborhood, tile: Tile = tileOf(area)): number {
  const sum = (parts: Part[]): number => parts.reduce((total, { size, keySize }) => total + size * keySize, 0);
  return sum(bandsOf(area.H, area.kernel, tile.rows)) * sum(columnsOf(area.W, area.kernel, tile.columns));
}

/**
 * Attention of every token to its window: q, k, v [B, K, H·W, d] -> [B, K, H·W, d], with K heads (here K is not the number of scales). The cost is O(H·W·k²).
 *
 * The rows of queries are cut into bands, and a band into tiles. The tiles of a band are one batched product. A tile has all keys that at least one
 * of its queries sees; a key that a query does not see gets a weight of exactly 0 for it. No tensor has H·W × H·W numbers.
 *
 * @param scale factor of the logits
 */
export function neighborhoodAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  area: Neighborhood,
  { scale, tile = tileOf(area) }: { scale: number; tile?: Tile },
): Tensor {
  checkNeighborhood(area, 'neighborhoodAttention');
  checkNumber('neighborhoodAttention: scale', scale);
  for (const [name, size] of Object.entries(tile)) checkNumber(`neighborhoodAttention: tile: ${name}`, size, { integer: true, min: 1 });
  const { H, W, kernel } = area;
  const { B, K, d } = dims<'B' | 'K' | 'd'>(q, 'B K T d', 'neighborhoodAttention: q', { T: H * W });
  for (const [name, x] of Object.entries({ k, v })) dims(x, 'B K T d', `neighborhoodAttention: ${name}`, { B, K, T: H * W, d });
  const [bands, columns] = [bandsOf(H, kernel, tile.rows), columnsOf(W, kernel, Math.min(tile.columns, W))];
  const own = columns.map(({ start, size }): Span => [start, start + size]);
  const seen = columns.map(({ keyStart, keySize }): Span => [keyStart, keyStart + keySize]);
  const results = bands.map((rows) => {
    const [from, to] = [rows.start, rows.start + rows.size];
    const keyRows: Span = [rows.keyStart, rows.keyStart + rows.keySize];
    /** The tiles of the band as one batch: [B, K, H·W, d] -> [B·K, tiles, n, d]. */
    const tiles = (x: Tensor, span: Span, spans: Span[]): Tensor =>
      tf.reshape(takeTiles(x, area, span, spans), [B * K, columns.length, -1, d]);
    const unseen = unseenInTiles(area, rows, columns);
    const options = { scale, ...(unseen && { mask: unseen, everyQuerySees: true }) };
    const out = attention(tiles(q, [from, to], own), tiles(k, keyRows, seen), tiles(v, keyRows, seen), options);
    return joinTiles(tf.reshape(out, [B * K, columns.length, rows.size, -1]), W * d);
  });
  return tf.reshape(join(results, 1), [B, K, H * W, d]);
}

/** Rows top … bottom - 1 of a grid [B, K, H·W, d], cut into tiles of columns. The tokens come tile by tile, and in a tile row by row. -> [B, K, n, d] */
function takeTiles(x: Tensor, { H, W }: Neighborhood, [top, bottom]: Span, columns: readonly Span[]): Tensor {
  if (columns.length === 1) return takeSpans(x, [[top * W, bottom * W]]);
  const places: number[] = [];
  for (const [left, right] of columns)
    for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) places.push(row * W + column);
  return customGradient([x], (grid) => ({
    value: tf.gather(grid, tf.tensor1d(places, 'int32'), 2),
    kept: [],
    // Tiles overlap, so the gradient of a token is the sum over its tiles. A few concatenations with zeros are many times faster than a scatter.
    pullback: (dy) => {
      const [B, K, , d] = x.shape as [number, number, number, number];
      const parts = tf.unstack(tf.reshape(dy, [B * K, columns.length, bottom - top, -1]), 1);
      const band = tf.reshape(sumOfTiles(parts, columns, W), [B * K, (bottom - top) * W * d]);
      return [tf.reshape(tf.pad(band, [[0, 0], [top * W * d, (H - bottom) * W * d]]), x.shape)]; // prettier-ignore
    },
  }));
}

/**
 * Adds tiles [n, rows, columns·d] at their places in a band [n, rows, W·d]. Tiles that do not overlap form one layer: they are concatenated, with zeros between
 * them. The layers are added.
 */
function sumOfTiles(tiles: readonly Tensor[], spans: readonly Span[], W: number): Tensor {
  const layers: number[][] = [];
  spans.forEach(([left], i) => {
    const layer = layers.find((others) => spans[others.at(-1)!]![1] <= left);
    if (layer) layer.push(i);
    else layers.push([i]);
  });
  const [n, rows, size] = tiles[0]!.shape as [number, number, number];
  const d = size / (spans[0]![1] - spans[0]![0]);
  const sums = layers.map((layer) => {
    const ends = [0, ...layer.map((i) => spans[i]![1])];
    const gap = (from: number, to: number): Tensor[] => (from === to ? [] : [tf.zeros([n, rows, (to - from) * d])]);
    const parts = layer.flatMap((i, at) => [...gap(ends[at]!, spans[i]![0]), tiles[i]!]);
    return join([...parts, ...gap(ends.at(-1)!, W)], 2);
  });
  return sums.reduce((sum, layer) => tf.add(sum, layer));
}

const join = (xs: Tensor[], axis: number): Tensor => (xs.length === 1 ? xs[0]! : tf.concat(xs, axis));

/**
 * Joins tiles [n, tiles, rows, columns·d] into a band [n, rows, W·d], `width` = W·d. If the last tile overlaps the one before, the common columns are
 * taken once.
 */
function joinTiles(tiles: Tensor, width: number): Tensor {
  const [n, count, rows, size] = tiles.shape as [number, number, number, number];
  const all = tf.reshape(tf.transpose(tiles, [0, 2, 1, 3]), [n, rows, count * size]);
  if (count * size === width) return all;
  const [before, last] = [(count - 1) * size, width - (count - 1) * size];
  return tf.concat([tf.slice(all, [0, 0, 0], [n, rows, before]), tf.slice(all, [0, 0, count * size - last], [n, rows, last])], 2);
}

/**
 * The mask to add to the logits of a band, [tiles, queries, keys]: 0 where a query of a tile sees a key of the tile, -∞ where not. Null if all
 * queries see all keys.
 */
function unseenInTiles({ H, W, kernel }: Neighborhood, rows: Part, columns: readonly Part[]): Tensor | null {
  const axis = ({ start, size, keyStart, keySize }: Part, side: number): boolean[][] =>
    Array.from({ length: size }, (_, i) => {
      const first = windowStart(start + i, side, kernel) - keyStart;
      return Array.from({ length: keySize }, (__, j) => j >= first && j < first + kernel);
    });
  const byRow = axis(rows, H);
  const added = columns.flatMap((part) => {
    const byColumn = axis(part, W);
    return byRow.flatMap((row) =>
      byColumn.flatMap((column) => row.flatMap((sees) => column.map((also) => (sees && also ? 0 : -Infinity)))),
    );
  });
  const shape: [number, number, number] = [columns.length, rows.size * columns[0]!.size, rows.keySize * columns[0]!.keySize];
  return added.every((value) => value === 0) ? null : tf.tensor3d(added, shape);
}
