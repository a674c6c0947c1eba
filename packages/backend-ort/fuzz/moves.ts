import { tf } from '../src/tf.ts';
import { operators, type Operator } from './operator.ts';
import { sizeOf, stopped, withoutNaN, type Pool, type Tensor } from './pool.ts';

/** Operators that move, pick and write elements, and folds along axes. */

const sameRest = (x: Tensor, axis: number) => (y: Tensor) => y.rank === x.rank && y.shape.every((s, i) => i === axis || s === x.shape[i]);

function slices(p: Pool, x: Tensor): [number[], number[]] {
  const begin = x.shape.map((s) => p.below(Math.max(1, s)));
  return [begin, x.shape.map((s, i) => (s === 0 ? 0 : p.between(1, s - begin[i]!)))];
}

export const moves: Operator[] = [
  ...operators('moved')({
    reshape: (p) => p.shaped(p.any(), p.between(0, 4) || 1),
    flatten: (p) => tf.reshape(p.any(), [-1]),
    transpose: (p) => {
      const x = p.any();
      const perm = x.shape.map((_, i) => i);
      for (let i = perm.length - 1; i > 0; i--) {
        const j = p.below(i + 1);
        [perm[i], perm[j]] = [perm[j]!, perm[i]!];
      }
      return tf.transpose(x, perm);
    },
    expandDims: (p) => {
      const x = p.any((y) => y.rank < 5);
      return tf.expandDims(x, p.between(0, x.rank));
    },
    squeeze: (p) => tf.squeeze(p.any()),
    reverse: (p) => {
      const x = p.filled();
      return tf.reverse(x, p.axes(x));
    },
    slice: (p) => {
      const x = p.any((y) => y.rank > 0);
      return tf.slice(x, ...slices(p, x));
    },
    concat: (p) => {
      const x = p.any((y) => y.rank > 0);
      const axis = p.below(x.rank);
      return tf.concat([x, p.any((y) => y.dtype === x.dtype && sameRest(x, axis)(y)), ...(p.flag() ? [x] : [])], axis);
    },
    stack: (p) => {
      const x = p.any((y) => y.rank < 5);
      const same = p.any((y) => y.dtype === x.dtype && y.shape.join() === x.shape.join());
      return tf.stack([x, same], p.between(0, x.rank));
    },
    unstack: (p) => {
      const x = p.any((y) => y.rank > 0 && Math.min(...y.shape) > 0 && Math.max(...y.shape) <= 6);
      return tf.unstack(x, p.below(x.rank)).slice(0, 2);
    },
    split: (p) => {
      // Without elements, `cpu` throws.
      const x = p.any((y) => y.size > 0 && y.shape.some((s) => s >= 2 && s % 2 === 0));
      return tf.split(
        x,
        2,
        x.shape.findIndex((s) => s >= 2 && s % 2 === 0),
      );
    },
    pad: (p) => {
      const x = p.any((y) => y.rank > 0);
      return tf.pad(
        x,
        x.shape.map(() => [p.below(3), p.below(2)]),
        x.dtype === 'bool' ? 1 : p.of([0, 2]),
      );
    },
    tile: (p) => {
      const x = p.any((y) => y.rank > 0 && y.rank <= 4);
      return tf.tile(
        x,
        x.shape.map(() => p.between(1, 2)),
      );
    },
    broadcastTo: (p) => {
      const x = p.any((y) => y.rank > 0 && y.rank < 4);
      return tf.broadcastTo(x, [p.between(1, 3), ...x.shape]);
    },
    gather: (p) => {
      const x = p.any((y) => y.rank > 0 && y.rank < 5 && y.size > 0);
      const axis = p.below(x.rank);
      return tf.gather(x, p.indices(p.flag() ? [p.between(1, 4)] : [2, p.between(1, 2)], x.shape[axis]!), axis);
    },
    where: (p) => {
      const a = p.any();
      const b = p.any((y) => y.shape.join() === a.shape.join());
      return tf.where(tf.greater(stopped(a), tf.scalar(0, a.dtype)), a, b);
    },
    'where, broadcast': (p) => {
      const a = p.float();
      return tf.where(tf.less(stopped(a), 0.5), tf.mul(a, 2), tf.scalar(p.of([0, 1.5])));
    },
    oneHot: (p) => tf.oneHot(tf.cast(tf.mod(tf.cast(p.number(), 'int32'), tf.scalar(3, 'int32')), 'int32'), p.between(2, 4)),
    diag: (p) => tf.diag(p.any((x) => x.rank > 0 && x.rank <= 2 && x.size <= 16)),
  }),
  ...operators(
    'moved',
    false,
  )({
    stridedSlice: (p) => {
      const x = p.filled();
      const back = x.shape.map(() => p.below(3) === 0);
      const begin = x.shape.map((s, i) => (back[i] ? s - 1 - p.below(s) : p.below(s)));
      const end = x.shape.map((s, i) => (back[i] ? -s - 1 : s));
      // With another stride, `cpu` takes the wrong elements if an axis is left out.
      const shrink = !back.includes(true) && p.below(4) === 0;
      const strides = back.map((b) => (shrink ? 1 : (b ? -1 : 1) * p.between(1, 2)));
      return tf.stridedSlice(x, begin, end, strides, 0, 0, 0, 0, shrink ? 1 : 0);
    },
    mirrorPad: (p) => {
      const x = p.any((y) => y.rank > 0 && y.rank <= 4 && Math.min(...y.shape) >= 2);
      return tf.mirrorPad(
        x,
        x.shape.map(() => [p.below(2), p.below(2)]),
        p.of(['reflect', 'symmetric'] as const),
      );
    },
    'gather in batches': (p) => {
      const x = p.any((y) => y.rank >= 2 && y.size > 0);
      return tf.gather(x, p.indices([x.shape[0]!, p.between(1, 3)], x.shape[1]!), 1, 1);
    },
    gatherND: (p) => {
      const x = p.any((y) => y.rank > 0 && y.rank < 5 && y.size > 0);
      const depth = p.between(1, x.rank);
      const rows = p.between(1, 3);
      const columns = x.shape.slice(0, depth).map((s) => p.indices([rows, 1], s));
      return tf.gatherND(x, tf.concat(columns, 1));
    },
  }),
  // Equal indices add.
  ...operators(
    'sum',
    false,
  )({
    scatterND: (p) => {
      const x = p.any((y) => y.rank > 0 && y.rank < 4 && y.size > 0);
      return tf.scatterND(p.indices([x.shape[0]!, 1], 4), x.dtype === 'bool' ? tf.cast(x, 'int32') : x, [4, ...x.shape.slice(1)]);
    },
  }),
  ...operators(
    'moved',
    false,
  )({
    tensorScatterUpdate: (p) => {
      const x = p.any((y) => y.rank > 0 && y.rank < 4 && y.size > 0);
      // `cpu` writes into the tensor that it is given.
      return tf.tensorScatterUpdate(
        tf.reverse(x, 0),
        p.indices([1, 1], x.shape[0]!),
        tf.slice(
          x,
          x.shape.map(() => 0),
          [1, ...x.shape.slice(1)],
        ),
      );
    },
    argMax: (p) => {
      // If the first element is NaN, `cpu` takes it.
      const x = withoutNaN(p.filled());
      return tf.argMax(x, p.axis(x));
    },
    argMin: (p) => {
      // If the first element is NaN, `cpu` takes it.
      const x = withoutNaN(p.filled());
      return tf.argMin(x, p.axis(x));
    },
    topk: (p) => {
      // `cpu` puts NaN, and equal infinite elements, anywhere.
      const raw = withoutNaN(p.any((y) => y.rank > 0 && y.size > 0 && y.dtype !== 'bool'));
      const x = raw.dtype === 'float32' ? tf.clipByValue(raw, -3e38, 3e38) : raw;
      const { values, indices } = tf.topk(x, p.between(1, x.shape[x.rank - 1]!));
      return p.of([[values], [indices], [values, indices]]);
    },
    all: (p) => {
      // All of no elements is true, which is false on `cpu`.
      const x = p.bool((y) => y.size > 0);
      return tf.all(x, x.rank === 0 ? undefined : p.axes(x), p.flag());
    },
    any: (p) => {
      const x = p.bool((y) => y.size > 0);
      return tf.any(x, x.rank === 0 ? undefined : p.axes(x), p.flag());
    },
    max: (p) => {
      const x = p.filled();
      return tf.max(x, p.axes(x), p.flag());
    },
    min: (p) => {
      const x = p.filled();
      return tf.min(x, p.axes(x), p.flag());
    },
    range: (p) => tf.range(p.between(-3, 0), p.between(1, 5), p.of([0.5, 1, 2])),
    fill: (p) => tf.fill([p.between(1, 3), 2], p.of([0, 1, -0.25]), p.of(['float32', 'int32'] as const)),
    spaceToBatchND: (p) => {
      const x = p.any((y) => y.rank >= 2 && y.rank <= 4 && y.shape[1]! >= 2 && y.shape[1]! % 2 === 0 && y.size > 0);
      return tf.spaceToBatchND(x, [2], [[0, 0]]);
    },
    batchToSpaceND: (p) => {
      const x = p.any((y) => y.rank >= 2 && y.rank <= 4 && y.shape[0]! >= 2 && y.shape[0]! % 2 === 0 && y.size > 0);
      return tf.batchToSpaceND(x, [2], [[0, p.below(2)]]);
    },
    depthToSpace: (p) => {
      const x = p.float((y) => y.size > 0 && y.size % 4 === 0);
      return tf.depthToSpace(tf.reshape(x, [1, 1, x.size / 4, 4]) as never, 2);
    },
    bincount: (p) =>
      tf.bincount(tf.reshape(tf.mod(tf.cast(p.number(), 'int32'), tf.scalar(4, 'int32')), [-1]) as never, tf.tensor1d([]), 4),
  }),
  ...operators('sum')({
    sum: (p) => {
      const x = p.filled();
      return tf.sum(x, p.axes(x), p.flag());
    },
    'sum of everything': (p) => tf.sum(p.any()),
    mean: (p) => {
      const x = p.filled();
      return tf.mean(x, p.axes(x), p.flag());
    },
    unsortedSegmentSum: (p) => {
      // An infinite element or NaN makes every segment NaN on `cpu`.
      const x = tf.clipByValue(withoutNaN(p.float((y) => y.rank > 0 && y.size > 0)), -1e6, 1e6);
      return tf.unsortedSegmentSum(x, p.indices([x.shape[0]!], 3) as never, p.between(3, 4));
    },
  }),
  ...operators(
    'sum',
    false,
  )({
    cumsum: (p) => {
      const x = p.any((y) => y.rank > 0 && y.dtype !== 'bool');
      return tf.cumsum(x, p.below(x.rank), p.flag(), p.flag());
    },
  }),
  ...operators(
    'near',
    false,
  )({
    prod: (p) => {
      const x = p.small((y) => y.rank > 0 && y.size > 0 && sizeOf(y.shape) <= 30);
      return tf.prod(x, p.axes(x), p.flag());
    },
    cumprod: (p) => {
      const x = p.float((y) => y.rank > 0 && y.size > 0 && Math.max(...y.shape) <= 8);
      return tf.cumprod(tf.clipByValue(x, -2, 2), p.below(x.rank), p.flag(), p.flag());
    },
    linspace: (p) => tf.linspace(p.between(-2, 0), p.between(1, 3), p.between(2, 6)),
  }),
  ...operators(
    'mixed',
    false,
  )({
    denseBincount: (p) => {
      const x = tf.reshape(tf.mod(tf.cast(p.number(), 'int32'), tf.scalar(4, 'int32')), [-1]);
      return tf.denseBincount(x as never, p.fixed([x.size]) as never, 5);
    },
  }),
];
