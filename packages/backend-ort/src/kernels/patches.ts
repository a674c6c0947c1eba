import { sizeOf, type Graph, type Node } from '../graph.ts';
import { matMul } from './matmul.ts';
import { padded } from './shape.ts';

/**
 * Convolutions as products over patches, channels last: one gather lays the pixels that a position looks at side by side, and one product
 * of matrices does the rest. ONNX Runtime's own `Conv` and `ConvTranspose` want channels first, and are fast only for weights that are constants
 * of the graph; how the forms compare stands in docs/decisions/0006-convolutions.md.
 */

/** Where the positions of one axis look: position p at its tap k sees the element p·step + start + k·spacing of `extent`, or a zero outside. */
export interface Look {
  count: number;
  taps: number;
  step: number;
  start: number;
  spacing: number;
  extent: number;
}

/** Bytes of patches that are made at a time: a few times what a core's own cache holds. Measured from 1 to 64 MiB. */
const PIECE_BYTES = 12 * 2 ** 20;
/** A piece is so many times as large as the filter, which each piece reads as a whole. */
const FILTERS_PER_PIECE = 4;
/** Indices that a graph may hold for one geometry. */
const MAX_INDICES = 2 ** 20;

/** Whether positions × taps are few enough to be listed. */
export const isListable = (looks: readonly Look[]): boolean => looks.reduce((n, { count, taps }) => n * count * taps, 1) <= MAX_INDICES;

/** For each position, in order, the flat index that each of its taps sees, or `zero`, the index of a row of zeros. */
function indicesOf(looks: readonly Look[], zero: number): Int32Array {
  let table: Int32Array[] = [Int32Array.of(0)];
  for (const { count, taps, step, start, spacing, extent } of looks) {
    const rows: Int32Array[] = [];
    for (const row of table)
      for (let position = 0; position < count; position++) {
        const next = new Int32Array(row.length * taps);
        row.forEach((outer, i) => {
          for (let k = 0; k < taps; k++) {
            const at = position * step + start + k * spacing;
            next[i * taps + k] = outer < 0 || at < 0 || at >= extent ? -1 : outer * extent + at;
          }
        });
        rows.push(next);
      }
    table = rows;
  }
  const all = new Int32Array(table.length * table[0]!.length);
  table.forEach((row, i) => all.set(row, i * row.length));
  return all.map((index) => (index < 0 ? zero : index));
}

/** Indices for `span` positions at a time, each list a constant of the graph; null if every position sees its own pixel and nothing else. */
type Places = { lists: Node[]; outside: boolean } | null;

/** The last geometries of a graph, since an evaluated program asks for the same ones again and again. */
const known = new WeakMap<Graph, Map<string, Places>>();
const MAX_KNOWN = 64;

function placesOf(g: Graph, looks: readonly Look[], span: number): Places {
  let own = known.get(g);
  if (own === undefined) known.set(g, (own = new Map()));
  const key = JSON.stringify([looks, span]);
  let places = own.get(key);
  if (places === undefined) {
    const pixels = looks.reduce((n, { extent }) => n * extent, 1);
    const taps = looks.reduce((n, look) => n * look.taps, 1);
    const indices = indicesOf(looks, pixels);
    const lists: Node[] = [];
    for (let at = 0; at < indices.length; at += span * taps) {
      const list = indices.slice(at, at + span * taps);
      lists.push(g.constant(list, [list.length], 'int32'));
    }
    places = indices.length === pixels && indices.every((index, i) => index === i) ? null : { lists, outside: indices.includes(pixels) };
    if (own.size >= MAX_KNOWN) own.delete(own.keys().next().value!);
    own.set(key, places);
  }
  return places;
}

/** Consecutive rows of the matrix of all patches. */
interface Piece {
  matrix: Node;
  from: number;
  rows: number;
}

/** The patches of x [B, …, C] as matrices of `taps · C` columns, some images at a time, or some positions of one image where that is much already. */
function patchesOf(g: Graph, x: Node, looks: readonly Look[], filterBytes: number): Piece[] {
  const [B, C] = [x.shape[0]!, x.shape.at(-1)!];
  const positions = looks.reduce((n, { count }) => n * count, 1);
  const columns = looks.reduce((n, { taps }) => n * taps, C);
  const wanted = Math.max(1, Math.floor(Math.max(PIECE_BYTES, FILTERS_PER_PIECE * filterBytes) / (4 * columns)));
  const images = evenly(B, Math.floor(wanted / positions));
  const places = placesOf(g, looks, images > 1 ? positions : evenly(positions, wanted));
  if (places === null) return [{ matrix: g.reshape(x, [B * positions, columns]), from: 0, rows: B * positions }];
  const pixels = g.reshape(x, [B, sizeOf(x.shape.slice(1, -1)), C]);
  // One row of zeros, which all places outside share.
  const widths = [[0, 0], [0, places.outside ? 1 : 0], [0, 0]]; // prettier-ignore
  const pieces: Piece[] = [];
  let from = 0;
  for (let b = 0; b < B; b += images) {
    const count = Math.min(images, B - b);
    const source = padded(g, g.slice(pixels, [b, 0, 0], [count, pixels.shape[1]!, C]), widths, 0);
    for (const list of places.lists) {
      const gathered = g.add('Gather', [source, list], { axis: 1 }, [count, list.shape[0]!, C], 'float32');
      const rows = (count * list.shape[0]! * C) / columns;
      pieces.push({ matrix: g.reshape(gathered, [rows, columns]), from, rows });
      from += rows;
    }
  }
  return pieces;
}

/** The length of parts of at most `most` that are as even as can be. */
const evenly = (size: number, most: number): number => Math.ceil(size / Math.ceil(size / Math.max(1, Math.min(size, most))));

const bytesOf = (x: Node): number => 4 * sizeOf(x.shape);

/** Every position's patch of x [B, …, C] times a matrix [taps C, O], or [O, taps C] if `turned`: -> [B, …, O]. */
export function patchProduct(g: Graph, x: Node, looks: readonly Look[], weights: Node, turned: boolean): Node {
  const products = patchesOf(g, x, looks, bytesOf(weights)).map(({ matrix }) => matMul(g, matrix, weights, false, turned));
  const outputs = products[0]!.shape[1]!;
  return g.reshape(g.concat(products, 0), [x.shape[0]!, ...looks.map(({ count }) => count), outputs]);
}

/** Σ over all positions of y [B, …, D] times the patch of x [B, …, C] there: -> [D, taps C]. */
export function patchCorrelation(g: Graph, x: Node, y: Node, looks: readonly Look[]): Node {
  const D = y.shape.at(-1)!;
  const columns = looks.reduce((n, { taps }) => n * taps, x.shape.at(-1)!);
  const all = g.reshape(y, [sizeOf(y.shape) / D, D]);
  const products = patchesOf(g, x, looks, 4 * D * columns).map(({ matrix, from, rows }) => {
    const blocks = blocksOf(rows);
    const own = g.reshape(g.slice(all, [from, 0], [rows, D]), [blocks, rows / blocks, D]);
    return matMul(g, own, g.reshape(matrix, [blocks, rows / blocks, columns]), true, false); // -> [blocks, D, taps C]
  });
  return g.reduce('ReduceSum', g.concat(products, 0), [0], false);
}

/** Rows that one product adds up. Blocks are shared between threads, which one product with few results is not well. */
const BLOCK = 2048;

/** Into how many blocks of about that length some rows can be cut. */
function blocksOf(rows: number): number {
  const fewest = Math.ceil(rows / BLOCK);
  for (let blocks = fewest; blocks < 2 * fewest; blocks++) if (rows % blocks === 0) return blocks;
  return 1;
}
