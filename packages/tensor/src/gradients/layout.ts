import { tf, type Tensor } from '../tfjs.ts';
import { axesOf, gradient, product, type Gradient } from './gradient.ts';
import { scatterRows } from './rows.ts';

/**
 * Sums dy over all copies: one reshape separates copies from elements, then one sum. Neighbouring axes of the same kind are joined, so the
 * number of axes stays low.
 */
function ofTile(dy: Tensor, shape: readonly number[], reps: readonly number[]): Tensor {
  const parts: { size: number; copies: boolean }[] = [];
  const push = (size: number, copies: boolean): void => {
    const last = parts.at(-1);
    if (size === 1) return;
    if (last?.copies === copies) last.size *= size;
    else parts.push({ size, copies });
  };
  shape.forEach((size, axis) => {
    push(reps[axis]!, true);
    push(size, false);
  });
  const summed = tf.sum(
    tf.reshape(
      dy,
      parts.map(({ size }) => size),
    ),
    parts.flatMap(({ copies }, i) => (copies ? [i] : [])),
  );
  return tf.reshape(summed, [...shape]);
}

/**
 * Adds the mirrored elements at both ends of an axis to the elements from which they were copied. `skip` is 1 if the edge itself is not
 * repeated.
 */
function foldAxis(dy: Tensor, axis: number, [before, after]: readonly [number, number], skip: number): Tensor {
  const n = dy.shape[axis]! - before - after;
  const part = (begin: number, size: number): Tensor =>
    tf.slice(
      dy,
      dy.shape.map((_, i) => (i === axis ? begin : 0)),
      dy.shape.map((whole, i) => (i === axis ? size : whole)),
    );
  const placed = (mirrored: Tensor, begin: number): Tensor => {
    const turned = tf.reverse(mirrored, axis);
    return tf.pad(
      turned,
      turned.shape.map((size, i) => (i === axis ? [begin, n - begin - size] : [0, 0])),
    );
  };
  let sum = part(before, n);
  if (before > 0) sum = tf.add(sum, placed(part(0, before), skip));
  if (after > 0) sum = tf.add(sum, placed(part(before + n, after), n - after - skip));
  return sum;
}

/** Adds dy [batch, outer, n, inner] to the rows that `indices` [batch, n] selected, with one scatter for all batches. */
function ofGather(dy: Tensor, x: Tensor, indices: Tensor, axis: number, batchDims: number): Tensor {
  const batch = product(x.shape.slice(0, batchDims));
  const outer = product(x.shape.slice(batchDims, axis));
  const [rows, inner] = [x.shape[axis]!, product(x.shape.slice(axis + 1))];
  const n = indices.size / batch;
  const offsets = tf.tensor2d(
    Int32Array.from({ length: batch }, (_, i) => i * rows),
    [batch, 1],
    'int32',
  );
  const places = batch === 1 ? indices : tf.add(tf.reshape(indices, [batch, n]), offsets);
  const turned = tf.transpose(tf.reshape(dy, [batch, outer, n, inner]), [0, 2, 1, 3]); // -> [batch, n, outer, inner]
  const summed = scatterRows(tf.reshape(turned, [batch * n, outer * inner]), tf.reshape(places, [batch * n]), 0, batch * rows);
  return tf.reshape(tf.transpose(tf.reshape(summed, [batch, rows, outer, inner]), [0, 2, 1, 3]), x.shape);
}

type StridedSlice = { begin: number[]; end: number[]; strides: number[] } & Record<
  'beginMask' | 'endMask' | 'ellipsisMask' | 'newAxisMask' | 'shrinkAxisMask',
  number
>;

/** Writes every element of dy to the position from which it was read. */
function ofStridedSlice(dy: Tensor, x: Tensor, a: StridedSlice): Tensor {
  const masks = [a.beginMask, a.endMask, a.ellipsisMask, a.newAxisMask, a.shrinkAxisMask] as const;
  const { begin, end, strides } = tf.slice_util.sliceInfo(x.shape, a.begin, a.end, a.strides, ...masks);
  const counts = begin.map((from, i) => Math.max(0, Math.ceil((end[i]! - from) / strides[i]!)));
  return counts.reduce(
    (dx, count, axis) => {
      const size = x.shape[axis]!;
      if (count === size && strides[axis] === 1) return dx;
      const places = Array.from({ length: count }, (_, k) => begin[axis]! + k * strides[axis]!);
      return scatterRows(dx, places, axis, size);
    },
    tf.reshape(dy, counts),
  );
}

/** Derivatives of operators that only move elements: copies, mirrors, gathers, scatters, splits. */
export const layout = (): Gradient[] => [
  gradient('Tile', ['x'], (dy, [x], { reps }: { reps: number[] }) => ({ x: () => ofTile(dy, x!.shape, reps) })),
  gradient('MirrorPad', ['x'], (dy, _, { paddings, mode }: { paddings: [number, number][]; mode: string }) => ({
    x: () => paddings.reduce((folded, widths, axis) => foldAxis(folded, axis, widths, mode === 'reflect' ? 1 : 0), dy),
  })),
  gradient('GatherV2', ['x', 'indices'], (dy, [x, indices], { axis, batchDims = 0 }: { axis: number; batchDims?: number }) => ({
    x: () => ofGather(dy, x!, indices!, axesOf(axis, x!.rank)[0]!, batchDims < 0 ? batchDims + indices!.rank : batchDims),
    indices: () => tf.zeros(indices!.shape),
  })),
  gradient('GatherNd', ['params', 'indices'], (dy, [params, indices]) => ({
    params: () => tf.scatterND(indices!, dy, params!.shape),
    indices: () => tf.zeros(indices!.shape),
  })),
  gradient('ScatterNd', ['indices'], (dy, [indices]) => ({
    updates: () => tf.gatherND(dy, indices!),
    indices: () => tf.zeros(indices!.shape),
  })),
  gradient('StridedSlice', ['x'], (dy, [x], attributes: StridedSlice) => ({ x: () => ofStridedSlice(dy, x!, attributes) })),
  // For one part, TensorFlow.js passes a tensor instead of a list with one tensor.
  {
    kernelName: 'SplitV',
    gradFunc: (dy, _, attributes) => ({ x: () => tf.concat([dy].flat() as Tensor[], (attributes as unknown as { axis: number }).axis) }),
  },
  {
    kernelName: 'Unpack',
    gradFunc: (dy, _, attributes) => ({ value: () => tf.stack([dy].flat() as Tensor[], (attributes as unknown as { axis: number }).axis) }),
  },
  {
    kernelName: 'TopK',
    inputsToSave: ['x'],
    outputsToSave: [false, true],
    gradFunc: (dy, saved) => {
      const [dValues] = [dy].flat() as Tensor[];
      const [x, places] = saved as [Tensor, Tensor];
      return { x: () => ofGather(dValues!, x, places, x.rank - 1, x.rank - 1) };
    },
  },
  gradient('DepthToSpace', ['x'], (dy, [x], { blockSize: s, dataFormat }: { blockSize: number; dataFormat: string }) => ({
    x: () => {
      const last = dataFormat === 'NHWC';
      const [B, H, W] = last ? x!.shape : [x!.shape[0]!, x!.shape[2]!, x!.shape[3]!];
      const C = x!.size / (B! * H! * W! * s * s);
      const parted = last ? tf.reshape(dy, [B! * H!, s, W!, s, C]) : tf.reshape(dy, [B! * C, H!, s, W!, s]);
      if (last) return tf.reshape(tf.transpose(parted, [0, 2, 1, 3, 4]), x!.shape); // -> [B·H, W, s, s, C]
      const turned = tf.transpose(parted, [0, 2, 4, 1, 3]); // -> [B·C, s, s, H, W]
      return tf.reshape(tf.transpose(tf.reshape(turned, [B!, C, s * s, H! * W!]), [0, 2, 1, 3]), x!.shape);
    },
  })),
];
