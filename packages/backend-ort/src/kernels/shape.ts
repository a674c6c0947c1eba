import { sameShape, sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { tf } from '../tf.ts';
import { commonType } from './binary.ts';
import { numberOf, where } from './elementwise.ts';

/** Kernels that move elements and do not compute. */

const axisOf = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

function splits(k: KernelCall): Node[] {
  const g = k.graph;
  const x = k.node('x');
  const axis = axisOf(k.attribute<number>('axis'), x.shape.length);
  const sizes = tf.backend_util.prepareSplitSize({ shape: [...x.shape] } as never, k.attribute<number | number[]>('numOrSizeSplits'), axis);
  let at = 0;
  return sizes.map((size) => {
    const part = g.slice(
      x,
      x.shape.map((_, i) => (i === axis ? at : 0)),
      x.shape.map((s, i) => (i === axis ? size : s)),
    );
    at += size;
    return part;
  });
}

function unpack(k: KernelCall): Node[] {
  const g = k.graph;
  const x = k.node('value');
  const axis = axisOf(k.attribute<number>('axis'), x.shape.length);
  const shape = x.shape.filter((_, i) => i !== axis);
  return Array.from({ length: x.shape[axis]! }, (_, at) => {
    const begin = x.shape.map((__, i) => (i === axis ? at : 0));
    const size = x.shape.map((s, i) => (i === axis ? 1 : s));
    return g.reshape(g.slice(x, begin, size), shape);
  });
}

function stridedSlice(k: KernelCall): Node {
  const g = k.graph;
  const x = k.node('x');
  const mask = (name: string): number => k.attribute<number>(name);
  const { finalShape, isIdentity, sliceDim0, isSimpleSlice, begin, end, strides } = tf.slice_util.sliceInfo(
    [...x.shape],
    k.attribute<number[]>('begin'),
    k.attribute<number[]>('end'),
    k.attribute<number[]>('strides'),
    mask('beginMask'),
    mask('endMask'),
    mask('ellipsisMask'),
    mask('newAxisMask'),
    mask('shrinkAxisMask'),
  );
  if (isIdentity) return g.reshape(x, finalShape);
  // All axes of x, also those that the result does not have.
  const size = tf.slice_util.computeOutShape(begin, end, strides);
  if (sliceDim0 || isSimpleSlice) return g.reshape(g.slice(x, begin, size), finalShape);
  if (size.includes(0)) return g.fill(0, finalShape, x.dtype);
  // With a negative stride, a slice up to the first element ends before index 0. In ONNX this is any number below -size.
  const ends = end.map((e, i) => (strides[i]! < 0 && e < 0 ? -x.shape[i]! - 1 : e));
  const axes = g.int64(x.shape.map((_, i) => i));
  const picked = g.add('Slice', [x, g.places(begin), g.places(ends), axes, g.int64(strides)], {}, size, x.dtype);
  return g.reshape(picked, finalShape);
}

function slice(k: KernelCall): Node {
  const x = k.node('x');
  const [begin, size] = tf.slice_util.parseSliceParams(
    { shape: [...x.shape], rank: x.shape.length } as never,
    k.attribute<number[]>('begin'),
    k.attribute<number[]>('size'),
  );
  tf.slice_util.assertParamsValid({ shape: [...x.shape], rank: x.shape.length } as never, begin!, size!);
  return k.graph.slice(x, begin!, size!);
}

/** Padding with a constant. `widths` are the numbers of elements before and after each axis. */
export function padded(g: Graph, x: Node, widths: readonly (readonly number[])[], value: number): Node {
  const shape = x.shape.map((size, i) => size + widths[i]![0]! + widths[i]![1]!);
  if (sizeOf(x.shape) === 0) return g.fill(value, shape, x.dtype);
  if (widths.every(([before, after]) => before === 0 && after === 0)) return x;
  const pads = g.int64([...widths.map(([before]) => before!), ...widths.map(([, after]) => after!)]);
  const raw = x.dtype === 'bool' ? g.cast(x, 'int32') : x;
  return g.cast(g.add('Pad', [raw, pads, g.scalar(value, raw.dtype)], { mode: 'constant' }, shape, raw.dtype), x.dtype);
}

/** Mirrored padding, as a gather along each padded axis, because ONNX has no symmetric mode. */
function mirrorPad(k: KernelCall): Node {
  const g = k.graph;
  const offset = k.attribute<'reflect' | 'symmetric'>('mode') === 'reflect' ? 0 : 1;
  return k.attribute<[number, number][]>('paddings').reduce((x, [before, after], axis) => {
    if (before === 0 && after === 0) return x;
    const size = x.shape[axis]!;
    const source = Array.from({ length: before + size + after }, (_, i) => {
      const at = i - before;
      if (at < 0) return -at - offset;
      return at < size ? at : 2 * (size - 1) - at + offset;
    });
    return take(g, x, source, axis);
  }, k.node('x'));
}

/** The elements with the given indices along one axis. */
export function take(g: Graph, x: Node, indices: readonly number[], axis: number): Node {
  const shape = x.shape.map((s, i) => (i === axis ? indices.length : s));
  return g.add('Gather', [x, g.int64(indices)], { axis }, shape, x.dtype);
}

/** x in reverse order along some axes. */
export function reversed(g: Graph, x: Node, axes: readonly number[]): Node {
  if (axes.length === 0) return x;
  const all = (value: number): Node => g.int64(axes.map(() => value));
  return g.add('Slice', [x, all(-1), g.int64(axes.map((axis) => -x.shape[axis]! - 1)), g.int64(axes), all(-1)], {}, x.shape, x.dtype);
}

function reverse(k: KernelCall): Node {
  const x = k.node('x');
  if (x.shape.length === 0) return x;
  return reversed(k.graph, x, tf.util.parseAxisParam(k.attribute<number | number[]>('dims'), [...x.shape]));
}

function concat(k: KernelCall): Node {
  const xs = k.list();
  const axis = tf.util.parseAxisParam(k.attribute<number>('axis'), [...xs[0]!.shape])[0]!;
  tf.backend_util.assertParamsConsistent(
    xs.map((x) => [...x.shape]),
    axis,
  );
  const dtype = commonType(...xs);
  return k.graph.concat(
    xs.map((x) => k.graph.cast(x, dtype)),
    axis,
  );
}

function pack(k: KernelCall): Node {
  const g = k.graph;
  const xs = k.list();
  for (const x of xs) {
    if (!sameShape(x.shape, xs[0]!.shape) || x.dtype !== xs[0]!.dtype) {
      throw k.refuse(`tensors like the first, ${xs[0]!.dtype} [${xs[0]!.shape}]`, `${x.dtype} [${x.shape}]`);
    }
  }
  const axis = axisOf(k.attribute<number>('axis'), xs[0]!.shape.length + 1);
  return g.concat(
    xs.map((x) => g.reshape(x, [...x.shape.slice(0, axis), 1, ...x.shape.slice(axis)])),
    axis,
  );
}

function tile(k: KernelCall): Node {
  const x = k.node('x');
  const reps = k.attribute<number[]>('reps');
  const shape = x.shape.map((s, i) => s * reps[i]!);
  if (reps.every((r, i) => r === 1 || x.shape[i] === 1)) return k.graph.expand(x, shape);
  return k.graph.add('Tile', [x, k.graph.int64(reps)], {}, shape, x.dtype);
}

function reshape(k: KernelCall) {
  const x = k.infos.x!;
  const size = sizeOf(x.shape);
  const shape = tf.util.inferFromImplicitShape(k.attribute<number[]>('shape'), size);
  if (sizeOf(shape) !== size) throw k.refuse(`${size} elements as in [${x.shape}]`, `shape [${shape}]`);
  return { share: x, shape };
}

/** A tensor with twice as many axes, with x on its main diagonal and zeros elsewhere. */
function diagonal(k: KernelCall): Node {
  const g = k.graph;
  const x = k.node('x');
  const n = sizeOf(x.shape);
  const range = Int32Array.from({ length: n }, (_, i) => i);
  const onDiagonal = g.binary('Equal', g.constant(range, [n, 1], 'int32'), g.constant(range, [1, n], 'int32'), 'bool');
  const raw = numberOf(g, x);
  return g.cast(g.reshape(where(g, onDiagonal, g.reshape(raw, [1, n]), g.scalar(0, raw.dtype)), [...x.shape, ...x.shape]), x.dtype);
}

export const shape: KernelTable = {
  Identity: (k) => ({ share: k.infos.x!, shape: k.infos.x!.shape }),
  Reshape: reshape,
  ExpandDims: (k) => {
    const x = k.infos.input!;
    const wanted = k.attribute<number>('dim');
    if (wanted < -(x.shape.length + 1)) throw k.refuse(`an axis from ${-(x.shape.length + 1)} to ${x.shape.length}`, String(wanted));
    const dim = axisOf(k.attribute<number>('dim'), x.shape.length + 1);
    return { share: x, shape: [...x.shape.slice(0, dim), 1, ...x.shape.slice(dim)] };
  },
  Transpose: (k) => k.graph.transpose(k.node('x'), k.attribute<number[]>('perm')),
  BroadcastTo: (k) => k.graph.expand(k.node('x'), k.attribute<number[]>('shape')),
  Concat: concat,
  Pack: pack,
  Unpack: unpack,
  SplitV: splits,
  Slice: slice,
  StridedSlice: stridedSlice,
  PadV2: (k) => padded(k.graph, k.node('x'), k.attribute<[number, number][]>('paddings'), k.attribute<number>('constantValue')),
  MirrorPad: mirrorPad,
  Tile: tile,
  Reverse: reverse,
  Diag: diagonal,
};
