import { binary, measure, unary, type Elementwise } from './elementwise.ts';
import { compiled, evaluate } from './evaluate.ts';
import { convolutions } from './convolutions.ts';
import { sums, type Summing } from './sums.ts';
import { larger, worstOf, type Worst } from './ulp.ts';
import { windows } from './windows.ts';

/** Every float kernel with its largest error. */
export const elementwise: readonly Elementwise[] = [...unary, ...binary];
export const summing: readonly Summing[] = [...sums, ...convolutions, ...windows];

/** The largest error of a kernel that adds up, evaluated and compiled. */
export async function measureSum({ f, args, reference }: Summing): Promise<Worst> {
  const { exact, scale } = await reference(...args.map(({ data }) => data));
  const of = (got: Float32Array): Worst => {
    if (got.length !== exact.length) throw new Error(`wanted ${exact.length} results, got ${got.length}`);
    return worstOf(got, exact, (i) => `element ${i}`, { scale });
  };
  return larger(of(evaluate(f, args)), of(compiled(f, args)));
}

/** One row of the table: a kernel, what was measured, its bound, the largest error found, and a remark. */
export type Row = [string, string, string, string, string];

/** All rows. Functions of elements get `count` inputs each, for each seed. */
export async function rows(count: number, seeds: readonly number[]): Promise<Row[]> {
  const of = (one: Elementwise): Row => {
    const worst = seeds.map((seed) => measure(one, count, seed)).reduce(larger);
    const remarks = [one.reason, worst.otherZero ? 'may give 0 for -0' : undefined].filter((x) => x !== undefined);
    const tiny = worst.tiny > 1 ? ` (${Math.round(worst.tiny)} · 2⁻¹⁴⁹)` : '';
    return [one.kernel, one.about ?? '', String(one.bound), worst.normal.toFixed(2) + tiny, remarks.join('; ')];
  };
  const list = elementwise.map(of);
  for (const one of summing)
    list.push([one.kernel, one.about, String(one.bound), (await measureSum(one)).normal.toFixed(2), one.reason ?? '']);
  return list;
}

/** Kernels whose results are exact: they move, select or compare elements, or compute with whole numbers. The other tests of this package compare them with `cpu`. */
export const exactKernels: ReadonlySet<string> = new Set([
  ...[
    'IsNan',
    'IsInf',
    'IsFinite',
    'LogicalNot',
    'LogicalAnd',
    'LogicalOr',
    'LogicalXor',
    'BitwiseAnd',
    'All',
    'Any',
    'FloorDiv',
    'Bincount',
  ],
  ...['Equal', 'NotEqual', 'Greater', 'GreaterEqual', 'Less', 'LessEqual', 'Max', 'Min', 'ArgMax', 'ArgMin', 'RowMax', 'TopK', 'Cast'],
  ...[
    'Identity',
    'Reshape',
    'ExpandDims',
    'Transpose',
    'BroadcastTo',
    'Concat',
    'Pack',
    'Unpack',
    'SplitV',
    'Slice',
    'StridedSlice',
    'PadV2',
  ],
  ...[
    'MirrorPad',
    'Tile',
    'Reverse',
    'Diag',
    'GatherV2',
    'GatherNd',
    'OneHot',
    'Select',
    'Fill',
    'ZerosLike',
    'OnesLike',
    'MaxPoolWithArgmax',
  ],
  ...['DepthToSpace', 'BatchToSpaceND', 'SpaceToBatchND', 'TensorScatterUpdate', 'SparseToDense', 'FlipLeftRight', 'RotateWithOffset'],
  ...[
    'ResizeNearestNeighbor',
    'ResizeNearestNeighborGrad',
    'Dilation2DBackpropFilter',
    'Dilation2DBackpropInput',
    'Complex',
    'Real',
    'Imag',
  ],
]);
