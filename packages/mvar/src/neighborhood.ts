import { attention } from '@atelier/nn';
import { checkNumber, customGradient, dims, sumLast, tf, type Tensor } from '@atelier/tensor';

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

function partsOf(side: number, kernel: number, size: number): Part[] {
  return Array.from({ length: Math.ceil(side / size) }, (_, n) => {
    const start = n * size;
    const end = Math.min(side, start + size);
    const keyStart = windowStart(start, side, kernel);
    return { start, size: end - start, keyStart, keySize: windowStart(end - 1, side, kernel) + kernel - keyStart };
  });
}

/**
 * The tile that queries are taken in. Wide tiles work on more keys that a query does not see, small ones cost more operators. These were the
 * fastest of eight for windows of 7 × 7 in grids of 13 to 64 tokens a side.
 */
export function tileOf({ H, W }: Neighborhood): Tile {
  return W <= COLUMNS ? { rows: Math.min(H, 4), columns: W } : { rows: Math.min(H, 8), columns: COLUMNS };
}
const COLUMNS = 16;

/** Pairs of query and key that are multiplied when queries go in such tiles; with tiles of one query those that see each other. */
export function tiledPairs(area: Neighborhood, tile: Tile = tileOf(area)): number {
  const sum = (parts: Part[]): number => parts.reduce((total, { size, keySize }) => total + size * keySize, 0);
  return sum(partsOf(area.H, area.kernel, tile.rows)) * sum(partsOf(area.W, area.kernel, tile.columns));
}

/**
 * Attention of every token to its window: q, k, v [B, K, H·W, d] -> [B, K, H·W, d], O(H·W·k²).
 *
 * Queries go in tiles, each with the rows and columns of keys that any of them sees, cut from the grid. The keys of a tile that a query does not see get a
 * weight of exactly 0. No tensor has H·W × H·W numbers. With tiles of one query each has its own k² keys and nothing is masked.
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
  const [Q, keys, values] = [q, k, v].map((x) => tf.reshape(x, [B * K, H, W * d])) as [Tensor, Tensor, Tensor];
  /** Some rows and columns of a grid, token by token: [B, K, n, d]. */
  const cut = (x: Tensor, [row, rows]: [number, number], [column, columns]: [number, number]): Tensor =>
    tf.reshape(tf.slice(x, [0, row, column * d], [B * K, rows, columns * d]), [B, K, rows * columns, d]);
  const bands = partsOf(H, kernel, tile.rows).map((r) => {
    const tiles = partsOf(W, kernel, tile.columns).map((c) => {
      const seenRows: [number, number] = [r.keyStart, r.keySize];
      const seenColumns: [number, number] = [c.keyStart, c.keySize];
      const unseen = unseenInTile(area, r, c);
      const [own, otherKeys, otherValues] = [
        cut(Q, [r.start, r.size], [c.start, c.size]),
        cut(keys, seenRows, seenColumns),
        cut(values, seenRows, seenColumns),
      ];
      const out = unseen ? biasedAttention(own, otherKeys, otherValues, unseen, scale) : attention(own, otherKeys, otherValues, { scale });
      return tf.reshape(out, [B * K, r.size, c.size * d]);
    });
    return join(tiles, 2);
  });
  return tf.reshape(join(bands, 1), [B, K, H * W, d]);
}

const join = (xs: Tensor[], axis: number): Tensor => (xs.length === 1 ? xs[0]! : tf.concat(xs, axis));

/** -∞ where a query of a tile does not see a key of it and 0 where it does, [queries, keys]; null if all see all. */
function unseenInTile({ H, W, kernel }: Neighborhood, rows: Part, columns: Part): Tensor | null {
  const axis = ({ start, size, keyStart, keySize }: Part, side: number): boolean[][] =>
    Array.from({ length: size }, (_, i) => {
      const first = windowStart(start + i, side, kernel) - keyStart;
      return Array.from({ length: keySize }, (__, j) => j >= first && j < first + kernel);
    });
  const [byRow, byColumn] = [axis(rows, H), axis(columns, W)];
  const bias = byRow.flatMap((row) =>
    byColumn.map((column) => row.flatMap((sees) => column.map((also) => (sees && also ? 0 : -Infinity)))),
  );
  return bias.every((keys) => keys.every((value) => value === 0)) ? null : tf.tensor2d(bias);
}

/**
 * P = softmax(s·QKᵀ + bias), O = PV, for a constant bias under which every query sees a key, so that no row of weights has to be put right as in `attention`.
 * Given dO: dV = PᵀdO, dS = P∘(dO·Vᵀ - rowsum(dO∘O)), dQ = s·dS·K, dK = s·dSᵀQ. Where the bias is -∞, P and dS are exactly 0.
 */
function biasedAttention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: number): Tensor {
  const weights = (queries: Tensor, keys: Tensor, added: Tensor): Tensor =>
    tf.softmax(tf.add(tf.mul(tf.matMul(queries, keys, false, true), scale), added));
  return customGradient([q, k, v], (queries, keys, values) => ({
    value: tf.matMul(weights(queries, keys, bias), values),
    kept: [queries, keys, values, bias],
    pullback: (dO, Q, K, V, added) => {
      const P = weights(Q, K, added);
      const delta = sumLast(tf.mul(dO, tf.matMul(P, V)));
      const dS = tf.mul(P, tf.sub(tf.matMul(dO, V, false, true), delta));
      return [tf.mul(tf.matMul(dS, K), scale), tf.mul(tf.matMul(dS, Q, true, false), scale), tf.matMul(P, dO, true, false)];
    },
  }));
}
