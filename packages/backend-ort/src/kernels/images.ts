import { sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { tf } from '../tf.ts';
import { checkedIndices } from './bounds.ts';
import { where } from './elementwise.ts';
import { reversed } from './shape.ts';

/**
 * Kernels that read images [B, H, W, C] at computed positions: crops, projective maps, rotation. They have no gradient in TensorFlow.js.
 * Positions are computed in float64, as in its `cpu` engine. Otherwise rounding could move a position on the border out of the image.
 */

/** An image as a list of pixels, and positions in it: row, column and number of the image. These three are broadcast. */
interface Sampling {
  image: Node;
  y: Node;
  x: Node;
  batch: Node;
}

/** A number in float64. Only numbers that float32 holds exactly are passed. */
const number = (g: Graph, value: number): Node => g.cast(g.scalar(value), 'float64');
const compare = (g: Graph, op: string, a: Node, value: number): Node => g.binary(op, a, number(g, value), 'bool');
const all = (g: Graph, conditions: Node[]): Node => conditions.reduce((a, b) => g.binary('And', a, b));
/** a + (b - a) weight for pixels [B, h, w, C]. */
const lerp = (g: Graph, a: Node, b: Node, weight: Node): Node =>
  g.binary('Add', a, g.binary('Mul', g.binary('Sub', b, a), column(g, g.cast(weight, 'float32'))));
/** Rounds as JavaScript does: halves are rounded up. */
const rounded = (g: Graph, x: Node): Node => g.unary('Floor', g.binary('Add', x, number(g, 0.5)));

/** The pixels at whole positions [B, h, w] -> [B, h, w, C], or `outside` if a position is outside of the image. */
function pixels(g: Graph, { image, y, x, batch }: Sampling, outside: Node): Node {
  const [count, height, width, channels] = image.shape as [number, number, number, number];
  const inside = all(g, [
    compare(g, 'GreaterOrEqual', y, 0),
    compare(g, 'Less', y, height),
    compare(g, 'GreaterOrEqual', x, 0),
    compare(g, 'Less', x, width),
  ]);
  const whole = (v: Node): Node => g.cast(where(g, inside, v, number(g, 0)), 'int32');
  const row = g.binary('Add', g.binary('Mul', batch, g.scalar(height, 'int32')), whole(y));
  const at = g.binary('Add', g.binary('Mul', row, g.scalar(width, 'int32')), whole(x));
  const list = g.reshape(image, [count * height * width, channels]);
  const found = g.add('Gather', [list, at], { axis: 0 }, [...at.shape, channels], image.dtype);
  return where(g, g.reshape(inside, [...inside.shape, 1]), found, outside);
}

const column = (g: Graph, x: Node): Node => g.reshape(x, [...x.shape, 1]);
const range = (g: Graph, count: number, shape: number[]): Node =>
  g.cast(
    g.constant(
      Int32Array.from({ length: count }, (_, i) => i),
      shape,
      'int32',
    ),
    'float64',
  );

/** Cuts out boxes [N, 4] of y1, x1, y2, x2 (from 0 to 1) and resizes them: [N, h, w, C]. */
function cropAndResize(k: KernelCall): Node {
  const g = k.graph;
  const image = g.cast(k.node('image'), 'float32');
  const [batch, height, width, channels] = image.shape as [number, number, number, number];
  const [cropHeight, cropWidth] = k.attribute<[number, number]>('cropSize');
  const count = k.infos.boxes!.shape[0]!;
  const outShape = [count, cropHeight, cropWidth, channels];
  if (sizeOf(outShape) === 0) return g.fill(0, outShape);
  if (sizeOf(image.shape) === 0) throw k.refuse('images with pixels', `shape [${image.shape}]`);
  const boxes = g.cast(g.cast(k.node('boxes'), 'float32'), 'float64');
  const edge = (i: number): Node => g.slice(boxes, [0, i], [count, 1]);
  /** Positions along one axis, [N, crop]. */
  const places = (first: Node, last: Node, size: number, crop: number): Node => {
    const span = number(g, size - 1);
    if (crop === 1) return g.binary('Mul', g.binary('Mul', number(g, 0.5), g.binary('Add', first, last)), span);
    const step = g.binary('Div', g.binary('Mul', g.binary('Sub', last, first), span), number(g, crop - 1));
    return g.binary('Add', g.binary('Mul', first, span), g.binary('Mul', range(g, crop, [1, crop]), step));
  };
  const y = g.reshape(places(edge(0), edge(2), height, cropHeight), [count, cropHeight, 1]);
  const x = g.reshape(places(edge(1), edge(3), width, cropWidth), [count, 1, cropWidth]);
  const owner = g.cast(k.node('boxInd'), 'int32');
  if (owner.data !== undefined) checkedIndices(k, owner, Infinity);
  const present = g.binary('Less', owner, g.scalar(batch, 'int32'), 'bool');
  const chosen = g.reshape(checkedIndices(k, where(g, present, owner, g.scalar(0, 'int32')), batch), [count, 1, 1]);
  const inside = all(g, [
    compare(g, 'GreaterOrEqual', y, 0),
    compare(g, 'LessOrEqual', y, height - 1),
    compare(g, 'GreaterOrEqual', x, 0),
    compare(g, 'LessOrEqual', x, width - 1),
  ]);
  const at = (row: Node, col: Node): Node => pixels(g, { image, y: row, x: col, batch: chosen }, g.scalar(0));
  let sampled: Node;
  if (k.attribute<string>('method') === 'bilinear') {
    const [top, bottom, left, right] = [g.unary('Floor', y), g.unary('Ceil', y), g.unary('Floor', x), g.unary('Ceil', x)];
    const across = g.binary('Sub', x, left);
    const [above, below] = [lerp(g, at(top, left), at(top, right), across), lerp(g, at(bottom, left), at(bottom, right), across)];
    sampled = lerp(g, above, below, g.binary('Sub', y, top));
  } else sampled = at(rounded(g, y), rounded(g, x));
  const cut = where(g, column(g, inside), sampled, g.scalar(k.attribute<number>('extrapolationValue')));
  // If the image of a box does not exist, the result is zero.
  return where(g, g.reshape(present, [count, 1, 1, 1]), cut, g.scalar(0));
}

/** Maps a coordinate outside of an axis of `size` elements to one inside, by the fill mode. */
function mapped(g: Graph, at: Node, size: number, mode: string): Node {
  if (mode === 'constant') return at;
  const onto = (v: Node): Node => g.binary('Max', number(g, 0), g.binary('Min', v, number(g, size - 1)));
  if (mode === 'nearest' || size === 1) return onto(at);
  const truncated = (v: Node): Node => g.binary('Mul', g.unary('Sign', v), g.unary('Floor', g.unary('Abs', v)));
  const times = (v: Node, by: number): Node => g.binary('Mul', v, number(g, by));
  const over = (v: Node, by: number): Node => truncated(g.binary('Div', v, number(g, by)));
  const negative = compare(g, 'Less', at, 0);
  const past = compare(g, 'Greater', at, size - 1);
  let front: Node;
  let back: Node;
  if (mode === 'reflect') {
    const period = 2 * size;
    const shifted = g.binary('Add', times(over(g.unary('Neg', at), period), period), at);
    const mirrored = g.binary('Sub', g.unary('Neg', shifted), number(g, 1));
    front = where(g, compare(g, 'Less', shifted, -size), g.binary('Add', shifted, number(g, period)), mirrored);
    const wrapped = g.binary('Sub', at, times(over(at, period), period));
    back = where(g, compare(g, 'GreaterOrEqual', wrapped, size), g.binary('Sub', number(g, period - 1), wrapped), wrapped);
  } else {
    front = g.binary('Add', at, times(g.binary('Add', over(g.unary('Neg', at), size - 1), number(g, 1)), size));
    back = g.binary('Sub', at, times(over(at, size - 1), size));
  }
  return onto(where(g, negative, front, where(g, past, back, at)));
}

/** Each pixel of the result reads the source at the projective map of its position. `transforms` is [B or 1, 8]. */
function transform(k: KernelCall): Node {
  const g = k.graph;
  const [raw, transforms] = [k.node('image'), g.cast(g.cast(k.node('transforms'), 'float32'), 'float64')];
  const image = g.cast(raw, 'float32');
  const [batch, height, width, channels] = image.shape as [number, number, number, number];
  const [outHeight, outWidth] = k.attribute<[number, number] | null | undefined>('outputShape') ?? [height, width];
  const fill = g.scalar(k.attribute<number>('fillValue'));
  if (batch * outHeight * outWidth * channels === 0) return g.fill(0, [batch, outHeight, outWidth, channels], raw.dtype);
  const count = transforms.shape[0]!;
  const parameter = (i: number): Node => g.reshape(g.slice(transforms, [0, i], [count, 1]), [count, 1, 1]);
  const [columns, rows] = [range(g, outWidth, [1, 1, outWidth]), range(g, outHeight, [1, outHeight, 1])];
  const affine = (a: number, b: number, c: Node): Node =>
    g.binary('Add', g.binary('Add', g.binary('Mul', parameter(a), columns), g.binary('Mul', parameter(b), rows)), c);
  const projection = affine(6, 7, number(g, 1));
  const mode = k.attribute<string>('fillMode');
  const [x, y] = [
    mapped(g, g.binary('Div', affine(0, 1, parameter(2)), projection), width, mode),
    mapped(g, g.binary('Div', affine(3, 4, parameter(5)), projection), height, mode),
  ];
  const numbers = g.constant(
    Int32Array.from({ length: batch }, (_, i) => i),
    [batch, 1, 1],
    'int32',
  );
  const at = (row: Node, col: Node): Node => pixels(g, { image, y: row, x: col, batch: numbers }, fill);
  let sampled: Node;
  if (k.attribute<string>('interpolation') === 'nearest') sampled = at(rounded(g, y), rounded(g, x));
  else {
    const [top, left] = [g.unary('Floor', y), g.unary('Floor', x)];
    const next = (v: Node): Node => g.binary('Add', v, number(g, 1));
    const single = (v: Node): Node => column(g, g.cast(v, 'float32'));
    const share = (low: Node, v: Node): [Node, Node] => [single(g.binary('Sub', next(low), v)), single(g.binary('Sub', v, low))];
    const mix = (a: Node, b: Node, [forA, forB]: [Node, Node]): Node => g.binary('Add', g.binary('Mul', forA, a), g.binary('Mul', forB, b));
    const across = share(left, x);
    const [above, below] = [mix(at(top, left), at(top, next(left)), across), mix(at(next(top), left), at(next(top), next(left)), across)];
    sampled = mix(above, below, share(top, y));
  }
  const shape = [batch, outHeight, outWidth, channels];
  const defined = column(g, g.unary('Not', compare(g, 'Equal', projection, 0)));
  return g.cast(g.expand(where(g, defined, sampled, fill), shape), raw.dtype);
}

/** Rotation about a center, with the nearest pixel. The angle is an attribute, so the positions are computed here and not in the graph. */
function rotate(k: KernelCall): Node {
  const g = k.graph;
  const image = k.node('image');
  const [batch, height, width, channels] = image.shape as [number, number, number, number];
  if (sizeOf(image.shape) === 0) return image;
  const radians = k.attribute<number>('radians');
  const fill = k.attribute<number | number[]>('fillValue');
  const [centerX, centerY] = tf.backend_util.getImageCenter(k.attribute<number | [number, number]>('center'), height, width);
  const [sin, cos] = [Math.sin(radians), Math.cos(radians)];
  const from = new Int32Array(height * width);
  const inside = new Uint8Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const column = Math.round((x - centerX) * cos - (y - centerY) * sin + centerX);
      const row = Math.round((x - centerX) * sin + (y - centerY) * cos + centerY);
      if (column < 0 || column >= width || row < 0 || row >= height) continue;
      inside[y * width + x] = 1;
      from[y * width + x] = row * width + column;
    }
  }
  const shape = [batch, height * width, channels];
  const places = g.constant(from, [height * width], 'int32');
  const moved = g.add('Gather', [g.reshape(image, shape), places], { axis: 1 }, shape, image.dtype);
  // The fourth channel is the opacity. Outside of the image it is 255.
  const fills = Float32Array.from({ length: channels }, (_, c) => (typeof fill === 'number' ? fill : c === 3 ? 255 : fill[c]!));
  const outside = g.cast(g.constant(fills, [channels], 'float32'), image.dtype);
  return g.reshape(where(g, g.constant(inside, [height * width, 1], 'bool'), moved, outside), image.shape);
}

export const images: KernelTable = {
  CropAndResize: cropAndResize,
  Transform: transform,
  RotateWithOffset: rotate,
  FlipLeftRight: (k) => reversed(k.graph, k.node('image'), [2]),
};
