import { attention, takeSpans, type Span } from '@atelier/nn';
import { checkNumber, customGradient, dims, tf, type Tensor } from '@atelier/tensor';

/** A grid of H × W tokens, row by row, and the side k of the window that each of them sees. */
export type Neighborhood = { H: number; W: number; kernel: number };

/**
 * First row (or column) that token i of `side` sees: ⌊k/2⌋ before it, but moved inwards at the borders, so that every token sees k (NATTEN's rule; the
 * window is shifted, never cut).
 */
export function windowStart(i: number, side: number, kernel: number): number {
  return Math.min(Math.max(i - Math.floor(kernel / 2), 0), side - kernel);
}

/** The keys of every query: [H·W, k²] row by row, each window row by row. */
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

/** Rows and columns of queries that are worked on together. */
export type Tile = { rows: number; columns: number };

/** A part of one axis, and the part that its queries see between them. */
type Part = { start: number; size: number; keyStart: number; keySize: number };

/** Parts of the rows: each ends where the next begins, and has no more keys than its queries see. */
function bandsOf(side: number, kernel: number, size: number): Part[] {
  return Array.from({ length: Math.ceil(side / size) }, (_, n) => {
    const start = n * size;
    const end = Math.min(side, start + size);
    const keyStart = windowStart(start, side, kernel);
    return { start, size: end - start, keyStart, keySize: windowStart(end - 1, side, kernel) + kernel - keyStart };
  });
}

/** Parts of the columns, all of one size so that they can be multiplied as one batch: the last ones are moved inwards, and so are the keys at the borders. */
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
 * The tile that queries are taken in. Wide tiles work on more keys that a query does not see, small ones copy more keys and have smaller products. Of those
 * tried for windows of 7 × 7 these were the fastest, forward and backward: whole rows up to 16 columns, which need no copy token by token, and 8 × 8 above.
 */
export function tileOf({ H, W }: Neighborhood): Tile {
  return W <= 16 ? { rows: Math.min(H, 4), columns: W } : { rows: Math.min(H, 8), columns: 8 };
}

/** Pairs of query and key that are multiplied when queries go in such tiles; with tiles of one query those that see each other. */
export function tiledPairs(area: Neighborhood, tile: Tile = tileOf(area)): number {
  const sum = (parts: Part[]): number => parts.reduce((total, { size, keySize }) => total + size * keySize, 0);
  return sum(bandsOf(area.H, area.kernel, tile.rows)) * sum(columnsOf(area.W, area.kernel, tile.columns));
}

/**
 * Attention of every token to its window: q, k, v [B, K, H·W, d] -> [B, K, H·W, d], O(H·W·k²).
 *
 * Queries go in bands of rows. The tiles of a band are one batch of products, each with the keys that any of its queries sees. The keys of a tile that a query
 * does not see get a weight of exactly 0. No tensor has H·W × H·W numbers. With tiles of one query each has its own k² keys and nothing is masked.
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

/** Some rows of a grid [B, K, H·W, d], cut into tiles of columns: tile by tile, each row by row. -> [B, K, n, d] */
function takeTiles(x: Tensor, { H, W }: Neighborhood, [top, bottom]: Span, columns: readonly Span[]): Tensor {
  if (columns.length === 1) return takeSpans(x, [[top * W, bottom * W]]);
  const places: number[] = [];
  for (const [left, right] of columns)
    for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) places.push(row * W + column);
  return customGradient([x], (grid) => ({
    value: tf.gather(grid, tf.tensor1d(places, 'int32'), 2),
    kept: [],
    // Tiles overlap, so that the transpose is a sum. A few concatenations with zeros are many times faster than a scatter.
    pullback: (dy) => {
      const [B, K, , d] = x.shape as [number, number, number, number];
      const parts = tf.unstack(tf.reshape(dy, [B * K, columns.length, bottom - top, -1]), 1);
      const band = tf.reshape(sumOfTiles(parts, columns, W), [B * K, (bottom - top) * W * d]);
      return [tf.reshape(tf.pad(band, [[0, 0], [top * W * d, (H - bottom) * W * d]]), x.shape)]; // prettier-ignore
    },
  }));
}

/** The sum of tiles [n, rows, columns·d] at their places: those that do not overlap stand side by side in one tensor [n, rows, W·d], with zeros between them. */
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

/** Tiles side by side: [n, tiles, rows, columns·d] -> [n, rows, W·d] for `width` = W·d. What the last tile has in common with the one before is left out. */
function joinTiles(tiles: Tensor, width: number): Tensor {
  const [n, count, rows, size] = tiles.shape as [number, number, number, number];
  const all = tf.reshape(tf.transpose(tiles, [0, 2, 1, 3]), [n, rows, count * size]);
  if (count * size === width) return all;
  const [before, last] = [(count - 1) * size, width - (count - 1) * size];
  return tf.concat([tf.slice(all, [0, 0, 0], [n, rows, before]), tf.slice(all, [0, 0, count * size - last], [n, rows, last])], 2);
}

/** -∞ where a query of a tile does not see a key of it and 0 where it does, for the tiles of a band: [tiles, queries, keys]; null if all see all. */
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
