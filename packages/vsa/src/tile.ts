import { checkNumber, customGradient, dims, tf, type Tensor } from '@atelier/tensor';

/** Frames, rows and columns of tokens, or of a tile. */
export type Grid = readonly [t: number, h: number, w: number];

/** 4 × 4 × 4 tokens, the tile of the paper. */
export const DEFAULT_TILE: Grid = [4, 4, 4];

/**
 * How the tokens of a grid lie in tiles. A token's raster index is (t·H + h)·W + w. Tiles are numbered in the same order. Every tile has E slots, and its
 * real tokens lie packed at their front, in raster order: a tile at the border of a grid that the tile does not divide has fewer than E.
 */
export type TileLayout = {
  readonly grid: Grid;
  readonly tile: Grid;
  /** Tiles along each axis. */
  readonly counts: Grid;
  /** Number of tiles, n. */
  readonly tiles: number;
  /** Slots of a tile, E. */
  readonly volume: number;
  /** Number of tokens, T. */
  readonly tokens: number;
  /** [n] real tokens of each tile, from 1 to E. */
  readonly sizes: Int32Array;
  /** [T] slot of each token, in raster order (official `untile_combined_index`). */
  readonly slots: Int32Array;
};

/**
 * Cuts a grid of tokens into tiles (FastVideo `vsa_utils.py`; Sec. 2.2 of the specification of the paper, arXiv 2505.13389).
 *
 * @throws Error if a side is not a whole number of at least 1
 */
export function tileLayout(grid: Grid, tile: Grid = DEFAULT_TILE): TileLayout {
  checkGrid('tileLayout: grid', grid);
  checkGrid('tileLayout: tile', tile);
  const counts = grid.map((side, axis) => Math.ceil(side / tile[axis]!)) as unknown as Grid;
  const volume = product(tile);
  const sizes = new Int32Array(product(counts));
  const slots = new Int32Array(product(grid));
  let token = 0;
  for (let t = 0; t < grid[0]; t++)
    for (let h = 0; h < grid[1]; h++)
      for (let w = 0; w < grid[2]; w++) {
        const at = [t, h, w] as const;
        const place = at.map((x, axis) => Math.floor(x / tile[axis]!)) as unknown as Grid;
        const inside = at.map((x, axis) => x % tile[axis]!) as unknown as Grid;
        // The extent of this tile, which is less than the whole tile at the border.
        const [, rows, columns] = place.map((p, axis) => Math.min(tile[axis]!, grid[axis]! - tile[axis]! * p)) as unknown as Grid;
        const id = (place[0] * counts[1] + place[1]) * counts[2] + place[2];
        slots[token++] = id * volume + (inside[0] * rows + inside[1]) * columns + inside[2];
        sizes[id]!++;
      }
  return { grid, tile, counts, tiles: sizes.length, volume, tokens: slots.length, sizes, slots };
}

/** The official index arrays of a layout. */
export type TileIndices = {
  /** [T] raster index of the m-th token in the order of tiles. */
  partition: Int32Array;
  /** [T] its inverse: position in the order of tiles of the token with raster index m. */
  reverse: Int32Array;
  /** [T] slots in use, rising. */
  used: Int32Array;
};

/** The index arrays of the official code (`tile_partition_indices`, `reverse_tile_partition_indices`, `non_pad_index`). */
export function tileIndices({ slots }: TileLayout): TileIndices {
  const partition = Int32Array.from(slots.keys()).sort((a, b) => slots[a]! - slots[b]!);
  const reverse = new Int32Array(slots.length);
  partition.forEach((token, m) => (reverse[token] = m));
  return { partition, reverse, used: Int32Array.from(partition, (token) => slots[token]!) };
}

/** Tokens in the order of tiles: x [B, K, T, d] -> [B, K, n, E, d]. Slots without a token are 0. */
export function toTiles(x: Tensor, layout: TileLayout): Tensor {
  const { B, K, d } = dims<'B' | 'K' | 'd'>(x, 'B K T d', 'toTiles: x', { T: layout.tokens });
  return tf.reshape(moveRows(x, slotSources(layout), layout.slots), [B, K, layout.tiles, layout.volume, d]);
}

/** The inverse of `toTiles`: [B, K, n, E, d] -> [B, K, T, d]. Slots without a token are dropped. */
export function fromTiles(x: Tensor, layout: TileLayout): Tensor {
  const { B, K, n, E, d } = dims<'B' | 'K' | 'n' | 'E' | 'd'>(x, 'B K n E d', 'fromTiles: x', { n: layout.tiles, E: layout.volume });
  return moveRows(tf.reshape(x, [B, K, n * E, d]), layout.slots, slotSources(layout));
}

/** The tokens of tiles without the slots that have none: x [B, K, n, E, d], sizes [n] -> [B, K, T, d] in the order of tiles. */
export function realSlots(x: Tensor, sizes: Int32Array): Tensor {
  const [B, K, n, E, d] = x.shape as [number, number, number, number, number];
  const used: number[] = [];
  const places = new Int32Array(n * E).fill(-1);
  for (let slot = 0; slot < n * E; slot++) if (slot % E < sizes[Math.floor(slot / E)]!) places[slot] = used.push(slot) - 1;
  return moveRows(tf.reshape(x, [B, K, n * E, d]), Int32Array.from(used), places);
}

/** [n·E] raster index of the token in each slot, -1 where there is none. */
function slotSources({ slots, tiles, volume }: TileLayout): Int32Array {
  const sources = new Int32Array(tiles * volume).fill(-1);
  slots.forEach((slot, token) => (sources[slot] = token));
  return sources;
}

/**
 * Row i of the result is row `from[i]` of x [B, K, rows, d], or zeros where that is -1. `back` is the same map the other way round: moving tokens and
 * moving them back are the transposes of each other, so the gradient gathers too and adds nothing up.
 */
function moveRows(x: Tensor, from: Int32Array, back: Int32Array): Tensor {
  return customGradient([x], (rows) => ({ value: pick(rows, from), kept: [], pullback: (dy) => [moveRows(dy, back, from)] }));
}

function pick(x: Tensor, from: Int32Array): Tensor {
  const [B, K, rows, d] = x.shape as [number, number, number, number];
  if (from.length === rows && from.every((source, i) => source === i)) return x;
  if (!from.includes(-1)) return tf.gather(x, tf.tensor1d(from, 'int32'), 2);
  const more = tf.concat([x, tf.zeros([B, K, 1, d])], 2);
  return tf.gather(
    more,
    tf.tensor1d(
      from.map((source) => (source === -1 ? rows : source)),
      'int32',
    ),
    2,
  );
}

/** Throws unless a grid has three sides that are whole numbers of at least 1. */
export function checkGrid(where: string, grid: Grid): void {
  if (!Array.isArray(grid) || grid.length !== 3)
    throw new Error(`${where}: wanted three sides [frames, rows, columns], got ${JSON.stringify(grid)}`);
  grid.forEach((side, axis) => checkNumber(`${where}: ${['frames', 'rows', 'columns'][axis]}`, side as number, { integer: true, min: 1 }));
}

const product = (sides: readonly number[]): number => sides.reduce((a, b) => a * b, 1);
