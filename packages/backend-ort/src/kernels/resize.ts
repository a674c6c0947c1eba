import type { Graph, Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { sumContributions, transposeContributions, type Contribution } from './contributions.ts';
import { take } from './shape.ts';

/** Resizes images [B, H, W, C], one axis after the other, with gradients. */

interface Axis {
  from: number;
  to: number;
  alignCorners: boolean;
  halfPixelCenters: boolean;
}

/** The coordinate in the source of each element of the result, in units of source elements. */
function coordinates({ from, to, alignCorners, halfPixelCenters }: Axis, nearest: boolean): number[] {
  const aligned = alignCorners && to > 1;
  const ratio = (aligned ? from - 1 : from) / (aligned ? to - 1 : to);
  return Array.from({ length: to }, (_, i) => {
    if (!halfPixelCenters) return ratio * i;
    return nearest ? ratio * (i + 0.5) : ratio * (i + 0.5) - 0.5;
  });
}

interface Neighbours {
  low: number[];
  high: number[];
  /** The weight of `high`. The weight of `low` is 1 - weight. */
  weight: number[];
}

function neighbours(axis: Axis): Neighbours {
  const at = coordinates(axis, false);
  const low = at.map((x) => Math.max(0, Math.floor(x)));
  return { low, high: at.map((x) => Math.min(axis.from - 1, Math.ceil(x))), weight: at.map((x, i) => x - low[i]!) };
}

const nearest = (axis: Axis): number[] =>
  coordinates(axis, true).map((x) => Math.max(0, Math.min(axis.from - 1, axis.alignCorners ? Math.round(x) : Math.floor(x))));

function axesOf(k: KernelCall, input: readonly number[], output: readonly number[]): [Axis, Axis] {
  if (input.includes(0) && !output.includes(0)) throw k.refuse('an image with pixels', `one of ${input.join(' × ')} pixels`);
  const options = {
    alignCorners: k.attribute<boolean>('alignCorners') ?? false,
    halfPixelCenters: k.attribute<boolean>('halfPixelCenters') ?? false,
  };
  return [
    { from: input[0]!, to: output[0]!, ...options },
    { from: input[1]!, to: output[1]!, ...options },
  ];
}

/** low + (high - low) weight along one axis. */
function interpolate(g: Graph, x: Node, axis: number, { low, high, weight }: Neighbours): Node {
  const size = x.shape[axis]!;
  if (low.length === size && low.every((from, i) => from === i) && weight.every((w) => w === 0)) return x;
  const below = take(g, x, low, axis);
  if (weight.every((w, i) => w === 0 || low[i] === high[i])) return below;
  const shape = x.shape.slice(axis).map((_, i) => (i === 0 ? low.length : 1));
  const difference = g.binary('Sub', take(g, x, high, axis), below);
  return g.binary('Add', below, g.binary('Mul', difference, g.constant(Float32Array.from(weight), shape, 'float32')));
}

function bilinear(k: KernelCall): Node {
  const g = k.graph;
  const x = g.cast(k.node('images'), 'float32');
  const [rows, columns] = axesOf(k, x.shape.slice(1, 3), k.attribute<[number, number]>('size'));
  return interpolate(g, interpolate(g, x, 2, neighbours(columns)), 1, neighbours(rows));
}

function resizeNearest(k: KernelCall): Node {
  const g = k.graph;
  const x = k.node('images');
  const [rows, columns] = axesOf(k, x.shape.slice(1, 3), k.attribute<[number, number]>('size'));
  const along = (v: Node, axis: number, from: number[]): Node =>
    from.length === v.shape[axis] && from.every((at, i) => at === i) ? v : take(g, v, from, axis);
  return along(along(x, 2, nearest(columns)), 1, nearest(rows));
}

/** dL/dx. Each source element gets dL/dy of the elements to which it contributed, with the same weights. */
function gradient(k: KernelCall, given: (axis: Axis) => Contribution[][]): Node {
  const g = k.graph;
  const x = k.infos.images!;
  const dy = g.cast(k.node('dy'), 'float32');
  if (x.shape.includes(0) || dy.shape.includes(0)) return g.fill(0, x.shape);
  const [rows, columns] = axesOf(k, x.shape.slice(1, 3), dy.shape.slice(1, 3));
  const back = (v: Node, axis: number, along: Axis): Node => sumContributions(g, v, axis, transposeContributions(given(along), along.from));
  return back(back(dy, 1, rows), 2, columns);
}

const bilinearWeights = (axis: Axis): Contribution[][] => {
  const { low, high, weight } = neighbours(axis);
  return low.map((from, i) => {
    if (from === high[i] || weight[i] === 0) return [{ from, weight: 1 }];
    return [
      { from, weight: 1 - weight[i]! },
      { from: high[i]!, weight: weight[i]! },
    ];
  });
};

export const resize: KernelTable = {
  ResizeBilinear: bilinear,
  ResizeBilinearGrad: (k) => gradient(k, bilinearWeights),
  ResizeNearestNeighbor: resizeNearest,
  ResizeNearestNeighborGrad: (k) => gradient(k, (axis) => nearest(axis).map((from) => [{ from, weight: 1 }])),
};
