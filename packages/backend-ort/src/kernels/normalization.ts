import type { Graph, Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { storedAs } from './elementwise.ts';

/** Batch normalization with given mean and variance, and normalization over neighbouring channels. */

/** offset + (x - mean) scale / √(variance + ε). All except x have the shape of x, or one number per channel. */
function batchNorm(k: KernelCall): Node {
  const g = k.graph;
  const float = (name: string): Node => g.cast(k.node(name), 'float32');
  const epsilon = g.scalar(k.attribute<number | null | undefined>('varianceEpsilon') ?? 0.001);
  const deviation = g.unary('Sqrt', g.binary('Add', float('variance'), epsilon));
  const factor = k.has('scale') ? g.binary('Div', float('scale'), deviation) : g.unary('Reciprocal', deviation);
  const scaled = g.binary('Mul', g.binary('Sub', float('x'), float('mean')), factor);
  return storedAs(g, k.has('offset') ? g.binary('Add', float('offset'), scaled) : scaled, k.node('x').dtype);
}

/** Sums over the channels c - r … c + r of [B, H, W, C], with r = `radius`. */
function windowSum(g: Graph, x: Node, radius: number): Node {
  const size = 2 * radius + 1;
  const channels = x.shape[3]!;
  const rows = g.reshape(x, [x.shape[0]! * x.shape[1]! * x.shape[2]!, 1, channels]);
  const attributes = { kernel_shape: [size], strides: [1], pads: [radius, radius], count_include_pad: 1 };
  const mean = g.add('AveragePool', [rows], attributes, rows.shape, 'float32');
  return g.reshape(g.binary('Mul', mean, g.scalar(size)), x.shape);
}

/** b + α Σ x² over the neighbouring channels. */
function norm(k: KernelCall, x: Node): Node {
  const g = k.graph;
  const sum = windowSum(g, g.binary('Mul', x, x), k.attribute<number>('depthRadius'));
  return g.binary('Add', g.binary('Mul', sum, g.scalar(k.attribute<number>('alpha'))), g.scalar(k.attribute<number>('bias')));
}

const power = (g: Graph, x: Node, exponent: number): Node => g.binary('Pow', x, g.scalar(exponent));

/** y = x norm^-β */
function localResponse(k: KernelCall): Node {
  const x = k.graph.cast(k.node('x'), 'float32');
  return k.graph.binary('Mul', x, power(k.graph, norm(k, x), -k.attribute<number>('beta')));
}

/** dL/dx = dL/dy norm^-β - 2 α β x Σ y dL/dy / norm. The sum is over the same neighbours: if a is a neighbour of b, then b is one of a. */
function localResponseGrad(k: KernelCall): Node {
  const g = k.graph;
  const [x, y, dy] = [k.node('x'), k.node('y'), k.node('dy')].map((v) => g.cast(v, 'float32')) as [Node, Node, Node];
  const [alpha, beta] = [k.attribute<number>('alpha'), k.attribute<number>('beta')];
  const scale = norm(k, x);
  const shared = windowSum(g, g.binary('Div', g.binary('Mul', y, dy), scale), k.attribute<number>('depthRadius'));
  const through = g.binary('Mul', g.binary('Mul', x, shared), g.scalar(2 * alpha * beta));
  return g.binary('Sub', g.binary('Mul', dy, power(g, scale, -beta)), through);
}

export const normalization: KernelTable = {
  FusedBatchNorm: batchNorm,
  LRN: localResponse,
  LRNGrad: localResponseGrad,
};
