import { attention, checkNumber, sumLast } from '@atelier/nn';
import { dims, stopGradient, tf, type Tensor } from '@atelier/tensor';

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

/** How one axis is cut: `count` tiles of `queries` tokens that begin at `starts`, each with `keys` tokens from `keyStarts` on. */
type AxisTiles = { queries: number; keys: number; starts: number[]; keyStarts: number[] };

/** Tiles of one axis that see all that their queries see. The last one begins early enough to be whole, and then repeats some queries. */
function axisTiles(side: number, kernel: number, tile: number): AxisTiles {
  const queries = Math.min(tile, side);
  const keys = Math.min(queries + kernel - 1, side);
  const starts = Array.from({ length: Math.ceil(side / queries) }, (_, n) => Math.min(n * queries, side - queries));
  return { queries, keys, starts, keyStarts: starts.map((start) => Math.min(windowStart(start, side, kernel), side - keys)) };
}

/**
 * Side of the tiles that queries are taken in: the larger, the fewer copies of keys; the smaller, the fewer keys that a query does not see. A tile never sees
 * the whole grid if a smaller one does not.
 */
export function tileSide({ H, W, kernel }: Neighborhood): number {
  const smaller = Math.min(H, W);
  return TILES.find((tile) => tile + kernel - 1 < smaller) ?? 1;
}
const TILES = [4, 2] as const;

/** Pairs of query and key that are multiplied when queries go in tiles of `tile` × `tile`; with 1 those that see each other. */
export function tiledPairs(area: Neighborhood, tile = tileSide(area)): number {
  const [rows, columns] = [axisTiles(area.H, area.kernel, tile), axisTiles(area.W, area.kernel, tile)];
  return [rows, columns].reduce((product, { starts, queries, keys }) => product * starts.length * queries * keys, 1);
}

/**
 * Attention of every token to its window: q, k, v [B, K, H·W, d] -> [B, K, H·W, d], O(H·W·k²).
 *
 * Queries go in tiles, each with the keys and values that any of them sees, gathered from the grid; the keys of a tile that a query does not see get a
 * weight of exactly 0. No tensor has H·W × H·W numbers. With `tile` 1 each query has its own k² gathered keys and nothing is masked.
 *
 * @param scale factor of the logits
 */
export function neighborhoodAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  area: Neighborhood,
  { scale, tile = tileSide(area) }: { scale: number; tile?: number },
): Tensor {
  checkNeighborhood(area, 'neighborhoodAttention');
  checkNumber('neighborhoodAttention: scale', scale);
  checkNumber('neighborhoodAttention: tile', tile, { integer: true, min: 1 });
  const { H, W, kernel } = area;
  const { B, K, d } = dims<'B' | 'K' | 'd'>(q, 'B K T d', 'neighborhoodAttention: q', { T: H * W });
  for (const [name, x] of Object.entries({ k, v })) dims(x, 'B K T d', `neighborhoodAttention: ${name}`, { B, K, T: H * W, d });
  const rows = axisTiles(H, kernel, tile);
  const columns = axisTiles(W, kernel, tile);
  const cut = (x: Tensor, part: 'starts' | 'keyStarts', size: 'queries' | 'keys'): Tensor =>
    cutTiles(x, [H, W], { starts: rows[part], size: rows[size] }, { starts: columns[part], size: columns[size] });
  const Q = cut(q, 'starts', 'queries'); // -> [B·K, tiles, t·t, d]
  const [Keys, V] = [cut(k, 'keyStarts', 'keys'), cut(v, 'keyStarts', 'keys')]; // -> [B·K, tiles, s·s, d]
  const seen = seenInTiles(area, rows, columns);
  const out = seen === null ? attention(Q, Keys, V, { scale }) : seenAttention(Q, Keys, V, seen, scale, ownLogit(q, k, scale));
  return joinTiles(out, [B, K, d], [H, W], rows, columns);
}

/** Lists the place of each index in a list of tiles of `size` that begin at `starts`. */
const spread = (starts: readonly number[], size: number): number[] =>
  starts.flatMap((start) => Array.from({ length: size }, (_, i) => start + i));

type Cut = { starts: readonly number[]; size: number };

/** x [B, K, H·W, d] -> [B·K, n·m, s·s', d], n × m overlapping tiles of s rows and s' columns. */
function cutTiles(x: Tensor, [H, W]: [number, number], rows: Cut, columns: Cut): Tensor {
  const [B, K, , d] = x.shape as [number, number, number, number];
  const [n, s, m, t] = [rows.starts.length, rows.size, columns.starts.length, columns.size];
  const tall = pick(tf.reshape(x, [B * K, H, W * d]), spread(rows.starts, s)); // -> [B·K, n·s, W·d]
  const wide = pick(tf.reshape(tall, [B * K * n * s, W, d]), spread(columns.starts, t)); // -> [B·K·n·s, m·t, d]
  const turned = tf.transpose(tf.reshape(wide, [B * K * n, s, m, t, d]), [0, 2, 1, 3, 4]); // -> [B·K·n, m, s, t, d]
  return tf.reshape(turned, [B * K, n * m, s * t, d]);
}

/** The inverse of `cutTiles` for tiles of queries; of a query that is in two tiles the first counts. */
function joinTiles(x: Tensor, [B, K, d]: [number, number, number], [H, W]: [number, number], rows: AxisTiles, columns: AxisTiles): Tensor {
  const [n, s, m, t] = [rows.starts.length, rows.queries, columns.starts.length, columns.queries];
  const turned = tf.transpose(tf.reshape(x, [B * K * n, m, s, t, d]), [0, 2, 1, 3, 4]); // -> [B·K·n, s, m, t, d]
  const first = ({ starts, queries }: AxisTiles, side: number): number[] => {
    const all = spread(starts, queries);
    return Array.from({ length: side }, (_, i) => all.indexOf(i));
  };
  const narrow = pick(tf.reshape(turned, [B * K * n * s, m * t, d]), first(columns, W)); // -> [B·K·n·s, W, d]
  const short = pick(tf.reshape(narrow, [B * K, n * s, W * d]), first(rows, H)); // -> [B·K, H, W·d]
  return tf.reshape(short, [B, K, H * W, d]);
}

/**
 * x [b, n, e] at the places of the middle axis that are listed. The gradient sums what comes back to each place, as one product with a matrix of zeros and
 * ones: the places are few and each row of e numbers long, so it costs less than scattering them.
 */
function pick(x: Tensor, places: readonly number[]): Tensor {
  const [, n] = x.shape as [number, number, number];
  if (places.length === n && places.every((place, i) => place === i)) return x;
  const custom = tf.customGrad((input) => ({
    value: tf.gather(input as Tensor, tf.tensor1d([...places], 'int32'), 1),
    gradFunc: (dy: Tensor) => {
      const matrix = new Float32Array(n * places.length);
      places.forEach((place, i) => (matrix[place * places.length + i] = 1));
      return tf.matMul(tf.tensor3d(matrix, [1, n, places.length]), dy);
    },
  }));
  return custom(x);
}

/** 1 where a query of a tile sees a key of it, [1, n·m, t·t, s·s]; null if all do. */
function seenInTiles({ H, W, kernel }: Neighborhood, rows: AxisTiles, columns: AxisTiles): Tensor | null {
  const axis = ({ starts, keyStarts, queries, keys }: AxisTiles, side: number): boolean[][][] =>
    starts.map((start, n) =>
      Array.from({ length: queries }, (_, i) => {
        const first = windowStart(start + i, side, kernel) - keyStarts[n]!;
        return Array.from({ length: keys }, (__, j) => j >= first && j < first + kernel);
      }),
    );
  const [byRow, byColumn] = [axis(rows, H), axis(columns, W)];
  const [tiles, queries, keys] = [byRow.length * byColumn.length, rows.queries * columns.queries, rows.keys * columns.keys];
  const data = new Float32Array(tiles * queries * keys);
  let next = 0;
  for (const rowTile of byRow)
    for (const columnTile of byColumn)
      for (const seenRows of rowTile)
        for (const seenColumns of columnTile)
          for (const row of seenRows) for (const column of seenColumns) data[next++] = row && column ? 1 : 0;
  return data.every((value) => value === 1) ? null : tf.tensor4d(data, [1, tiles, queries, keys]);
}

/** What stands above every logit. */
const UNBOUNDED = 3e38;
/** How far below the lowest logit of a token with itself the logits of unseen keys are put, so that none of them decides the softmax's largest. */
const DEPTH = 40;

/** A level that no query's highest logit is below, for each sees itself. A scalar without gradient. */
function ownLogit(q: Tensor, k: Tensor, scale: number): Tensor {
  return tf.sub(tf.mul(stopGradient(tf.min(tf.sum(tf.mul(q, k), -1))), scale), DEPTH);
}

/**
 * softmax over the seen keys: P = seen∘softmax(min(s·QKᵀ, seen ? ∞ : floor)), O = PV. What is not seen adds less to a row's sum than float32 holds, and its
 * weight and gradients are exactly 0. Given dO: dV = PᵀdO, dS = P∘(dO·Vᵀ - rowsum(dO∘O)), dQ = s·dS·K, dK = s·dSᵀQ.
 */
function seenAttention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, scale: number, floor: Tensor): Tensor {
  const weights = (queries: Tensor, keys: Tensor, mask: Tensor, level: Tensor): Tensor => {
    const logits = tf.mul(tf.matMul(queries, keys, false, true), scale);
    return tf.mul(tf.softmax(tf.minimum(logits, tf.add(tf.mul(mask, UNBOUNDED), level))), mask);
  };
  const custom = tf.customGrad((...args) => {
    const [queries, keys, values, save] = args as unknown as [Tensor, Tensor, Tensor, (tensors: Tensor[]) => void];
    save([queries, keys, values, seen, floor]);
    return {
      value: tf.matMul(weights(queries, keys, seen, floor), values),
      gradFunc: ((dO: Tensor, [Q, Keys, V, mask, level]: Tensor[]) => {
        const P = weights(Q!, Keys!, mask!, level!);
        const delta = sumLast(tf.mul(dO, tf.matMul(P, V!)));
        const dS = tf.mul(P, tf.sub(tf.matMul(dO, V!, false, true), delta));
        return [tf.mul(tf.matMul(dS, Keys!), scale), tf.mul(tf.matMul(dS, Q!, true, false), scale), tf.matMul(P, dO, true, false)];
      }) as never,
    };
  });
  return custom(q, k, v);
}
