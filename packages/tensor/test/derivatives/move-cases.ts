import { tf, type Tensor } from '../../src/index.ts';
import { apart, int, normal, type Case } from './draw.ts';

/** Operators that only move entries. */
export const moves: Case[] = [
  { kernel: 'AddN', f: (a, b) => tf.addN([a!, b!, a!]), xs: normal([2, 3], [2, 3]) },
  { kernel: 'BatchToSpaceND', f: (x) => tf.batchToSpaceND(x!, [2, 2], [[0, 1], [1, 0]]), xs: normal([4, 2, 2, 2]) }, // prettier-ignore
  { kernel: 'SpaceToBatchND', f: (x) => tf.spaceToBatchND(x!, [2, 2], [[0, 1], [1, 0]]), xs: normal([2, 3, 3, 2]) }, // prettier-ignore
  ...[0, 1, -1].map((axis): Case => ({
    kernel: 'Concat',
    about: `axis ${axis}`,
    f: (a, b) => tf.concat([a!, b!, a!], axis),
    xs: normal([2, 3], [2, 3]),
  })),
  { kernel: 'ExpandDims', f: (x) => tf.expandDims(x!, 1), xs: normal([2, 3]) },
  { kernel: 'Reshape', f: (x) => tf.reshape(x!, [3, 2]), xs: normal([2, 3]) },
  { kernel: 'Transpose', f: (x) => tf.transpose(x!, [2, 0, 1]), xs: normal([2, 3, 2]) },
  { kernel: 'Reverse', f: (x) => tf.reverse(x!, [0, -1]), xs: normal([2, 3, 2]) },
  { kernel: 'Slice', f: (x) => tf.slice(x!, [0, 1, 1], [2, 1, -1]), xs: normal([2, 3, 3]) },
  { kernel: 'PadV2', f: (x) => tf.pad(x!, [[1, 0], [0, 2]], 3), xs: normal([2, 3]) }, // prettier-ignore
  ...[0, 1, -1].map((axis): Case => ({
    kernel: 'Pack',
    about: `axis ${axis}`,
    f: (a, b) => tf.stack([a!, b!], axis),
    xs: normal([2, 3], [2, 3]),
  })),
  ...[0, 1, -1].map((axis): Case => ({
    kernel: 'Unpack',
    about: `axis ${axis}`,
    f: (x) => tf.mul(tf.unstack(x!, axis)[0]!, tf.unstack(x!, axis)[1]!),
    xs: normal([2, 3]),
  })),
  { kernel: 'Unpack', about: 'into one part', f: (x) => tf.unstack(x!, 1)[0]!, xs: normal([2, 1, 3]) },
  { kernel: 'SplitV', f: (x) => tf.mul(...(tf.split(x!, 2, 1) as [Tensor, Tensor])), xs: normal([2, 4]) },
  { kernel: 'SplitV', about: 'sizes, one part unused', f: (x) => tf.split(x!, [1, 3], 1)[1]!, xs: normal([2, 4]) },
  { kernel: 'SplitV', about: 'into one part', f: (x) => tf.split(x!, [4], 1)[0]!, xs: normal([2, 4]) },
  ...[[[3], [4]], [[2, 3], [2, 3]], [[2, 1, 3], [1, 4, 2]], [[1, 2, 1, 3], [2, 2, 3, 1]], [[1, 2, 1, 2, 2], [2, 2, 3, 1, 2]], [[2, 2], [1, 1]]].map(([shape, reps]): Case => ({ kernel: 'Tile', about: `[${shape}] by [${reps}]`, f: (x) => tf.tile(x!, reps!), xs: normal(shape!) })), // prettier-ignore
  ...(['reflect', 'symmetric'] as const).flatMap((mode): Case[] => [
    { kernel: 'MirrorPad', about: `${mode} [3]`, f: (x) => tf.mirrorPad(x!, [[1, 1]], mode), xs: normal([3]) },
    { kernel: 'MirrorPad', about: `${mode} [3, 4, 2]`, f: (x) => tf.mirrorPad(x!, [[2, 0], [1, 3], [0, 1]], mode), xs: normal([3, 4, 2]) }, // prettier-ignore
  ]),
  ...[0, 1, 2, -1].flatMap((axis): Case[] => [
    { kernel: 'GatherV2', about: `axis ${axis}`, f: (x) => tf.gather(x!, int([1, 0, 1, 1]), axis), xs: normal([2, 3, 2]) },
    {
      kernel: 'GatherV2',
      about: `axis ${axis}, indices [2, 2]`,
      f: (x) => tf.gather(x!, int([1, 0, 1, 1], [2, 2]), axis),
      xs: normal([2, 3, 2]),
    },
  ]),
  { kernel: 'GatherV2', about: 'batchDims 1', f: (x) => tf.gather(x!, int([1, 0, 2, 1, 1, 0], [2, 3]), 1, 1), xs: normal([2, 3, 2]) },
  { kernel: 'GatherV2', about: 'batchDims 1, axis 2', f: (x) => tf.gather(x!, int([1, 0, 1, 1], [2, 2]), 2, 1), xs: normal([2, 3, 2]) },
  {
    kernel: 'GatherV2',
    about: 'batchDims 2',
    f: (x) => tf.gather(x!, int([1, 0, 0, 0, 1, 1, 1, 0], [2, 2, 2]), 2, 2),
    xs: normal([2, 2, 2, 3]),
  },
  { kernel: 'GatherNd', f: (x) => tf.gatherND(x!, int([0, 1, 1, 2, 0, 1], [3, 2])), xs: normal([2, 3, 2]) },
  { kernel: 'ScatterNd', f: (x) => tf.scatterND(int([1, 3, 1], [3, 1]), x!, [4, 2]), xs: normal([3, 2]) },
  { kernel: 'StridedSlice', f: (x) => tf.stridedSlice(x!, [0, 3], [2, -5], [1, -2]), xs: normal([2, 4, 3]) },
  {
    kernel: 'StridedSlice',
    about: 'open ends',
    f: (x) => tf.stridedSlice(x!, [1, 1, 0], [2, 3, 2], [1, 2, 1], 1, 2),
    xs: normal([2, 4, 3]),
  },
  {
    kernel: 'StridedSlice',
    about: 'an axis taken away, one added',
    f: (x) => tf.stridedSlice(x!, [1, 0, 1], [2, 1, 3], [1, 1, 1], 0, 0, 0, 2, 1),
    xs: normal([2, 4, 3]),
  },
  { kernel: 'TopK', f: (x) => tf.topk(x!, 2).values, xs: apart([2, 2, 3]) },
  { kernel: 'DepthToSpace', f: (x) => tf.depthToSpace(x as never, 2, 'NHWC'), xs: normal([2, 2, 3, 8]) },
  { kernel: 'UnsortedSegmentSum', f: (x) => tf.unsortedSegmentSum(x!, int([1, 0, 1, 2]) as never, 4), xs: normal([4, 2]) },
];
