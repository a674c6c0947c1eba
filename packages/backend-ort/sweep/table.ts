import { tf } from '../src/tf.ts';

export type Tensor = tf.Tensor;

/**
 * A call that the sweep makes. `operands` describes its arguments, separated by commas: an axis is a letter with the size below, or a number.
 * `<5` behind the axes means whole numbers from 0 to 4, and a name of a type means this type alone. All other operands have every type in turn.
 */
export interface Call {
  kernel: string;
  operands: string;
  f: (...xs: Tensor[]) => Tensor | readonly Tensor[];
}

/** The size of each axis. In turn, each letter of a call is also 0. */
export const SIZES: Readonly<Record<string, number>> = { B: 2, C: 3, D: 4, H: 5, I: 4, J: 3, K: 6, N: 4, O: 5, W: 6 };

type Attributes = Record<string, unknown>;
/** A kernel that no operator calls in this way. */
const run = (name: string, inputs: Record<string, Tensor>, attributes: Attributes = {}): Tensor =>
  tf.engine().runKernel(name, inputs as never, attributes as never) as Tensor;

/** One call per kernel, with the same operands. */
const each = (operands: string, table: Record<string, Call['f']>): Call[] =>
  Object.entries(table).map(([kernel, f]) => ({ kernel, operands, f }));
const call = (kernel: string, operands: string, f: (...xs: never[]) => Tensor | readonly Tensor[]): Call => ({
  kernel,
  operands,
  f: f as Call['f'],
});

const elements: Call[] = [
  ...each('B H', {
    Abs: tf.abs,
    Acos: tf.acos,
    Acosh: tf.acosh,
    Asin: tf.asin,
    Asinh: tf.asinh,
    Atan: tf.atan,
    Atanh: tf.atanh,
    Ceil: tf.ceil,
    ClipByValue: (x) => tf.clipByValue(x, -1, 2),
    Cos: tf.cos,
    Cosh: tf.cosh,
    Elu: tf.elu,
    Erf: tf.erf,
    Exp: tf.exp,
    Expm1: tf.expm1,
    Floor: tf.floor,
    Identity: (x) => x.clone(),
    IsFinite: tf.isFinite,
    IsInf: tf.isInf,
    IsNan: tf.isNaN,
    LeakyRelu: (x) => tf.leakyRelu(x, 0.3),
    Log: tf.log,
    Log1p: tf.log1p,
    LogicalNot: tf.logicalNot,
    Neg: tf.neg,
    OnesLike: tf.onesLike,
    Reciprocal: tf.reciprocal,
    Relu: tf.relu,
    Relu6: tf.relu6,
    Round: tf.round,
    Rsqrt: tf.rsqrt,
    Selu: tf.selu,
    Sigmoid: tf.sigmoid,
    Sign: tf.sign,
    Sin: tf.sin,
    Sinh: tf.sinh,
    Softplus: tf.softplus,
    Sqrt: tf.sqrt,
    Square: tf.square,
    Step: (x) => tf.step(x, 0.5),
    Tan: tf.tan,
    Tanh: tf.tanh,
    ZerosLike: tf.zerosLike,
    'Cast to float32': (x) => tf.cast(x, 'float32'),
    'Cast to int32': (x) => tf.cast(x, 'int32'),
    'Cast to bool': (x) => tf.cast(x, 'bool'),
  }),
  ...each('B H, H', {
    Add: tf.add,
    AddN: (x, y) => tf.addN([x, tf.tile(tf.reshape(y, [1, -1]), [x.shape[0]!, 1]), x]),
    Atan2: tf.atan2,
    Equal: tf.equal,
    FloorDiv: tf.floorDiv,
    Greater: tf.greater,
    GreaterEqual: tf.greaterEqual,
    Less: tf.less,
    LessEqual: tf.lessEqual,
    LogicalAnd: tf.logicalAnd,
    LogicalOr: tf.logicalOr,
    LogicalXor: tf.logicalXor,
    Maximum: tf.maximum,
    Minimum: tf.minimum,
    Mod: tf.mod,
    Multiply: tf.mul,
    NotEqual: tf.notEqual,
    Pow: tf.pow,
    Prelu: tf.prelu,
    RealDiv: tf.div,
    SquaredDifference: tf.squaredDifference,
    Sub: tf.sub,
    'RealDiv without NaN': tf.divNoNan,
  }),
  call('Add of columns and rows', 'B 1, 1 H', tf.add),
  call('EluGrad', 'B H, B H', (dy: Tensor, y: Tensor) => run('EluGrad', { dy, y })),
  call('Select', 'B H bool, B H, B H', tf.where),
  call('Select of rows', 'B 1 bool, B H, B H', tf.where),
  call('BitwiseAnd', 'B H, B H', tf.bitwiseAnd),
];

const folds: Call[] = each('B H C', {
  All: (x) => tf.all(tf.cast(x, 'bool'), 1),
  Any: (x) => tf.any(tf.cast(x, 'bool'), [0, 2], true),
  ArgMax: (x) => tf.argMax(x, 1),
  ArgMin: (x) => tf.argMin(x, 2),
  Cumprod: (x) => tf.cumprod(x, 1, true, true),
  Cumsum: (x) => tf.cumsum(x, 1),
  LogSoftmax: (x) => tf.logSoftmax(x),
  Max: (x) => tf.max(x, 1),
  Mean: (x) => tf.mean(x, [0, 1]),
  Min: (x) => tf.min(x, [0, 2], true),
  Prod: (x) => tf.prod(x, 1),
  Softmax: (x) => tf.softmax(x),
  Sum: (x) => tf.sum(x, 1),
  'Max of all': (x) => tf.max(x),
  'Mean of all': (x) => tf.mean(x),
  'Min of all': (x) => tf.min(x),
  'Prod of all': (x) => tf.prod(x),
  'Sum of all': (x) => tf.sum(x),
  'TopK of one': (x) => Object.values(tf.topk(x, 1)),
  TopK: (x) => Object.values(tf.topk(x, Math.min(2, x.shape[2]!))),
  Moments: (x) => Object.values(tf.moments(x, [1])),
  LogSumExp: (x) => tf.logSumExp(x, 1),
  Norm: (x) => tf.norm(x, 2, 1),
});

const whole = (values: number[], ...shape: number[]): Tensor => tf.tensor(values, shape.length === 0 ? [values.length] : shape, 'int32');

const moves: Call[] = [
  ...each('B H C', {
    Concat: (x) => tf.concat([x, tf.slice(x, [0, 0, 0], [-1, Math.min(1, x.shape[1]!), -1]), x], 1),
    ExpandDims: (x) => tf.expandDims(x, 1),
    MirrorPad: (x) => tf.mirrorPad(x, [[0, 0], [1, 2], [0, 0]], 'reflect'), // prettier-ignore
    Pack: (x) => tf.stack([x, x], 1),
    PadV2: (x) => tf.pad(x, [[1, 0], [0, 2], [1, 1]], 1), // prettier-ignore
    Reshape: (x) => tf.reshape(x, [x.shape[2]!, x.shape[0]! * x.shape[1]!]),
    Reverse: (x) => tf.reverse(x, [0, 2]),
    Slice: (x) => tf.slice(x, [0, 0, 0], [-1, Math.min(2, x.shape[1]!), -1]),
    'Slice of nothing': (x) => tf.slice(x, [0, 0, 0], [-1, 0, -1]),
    SplitV: (x) => tf.split(x, [Math.min(1, x.shape[1]!), Math.max(0, x.shape[1]! - 1)], 1),
    StridedSlice: (x) => tf.stridedSlice(x, [0, 4, 0], [2, 0, 3], [1, -2, 2]),
    Tile: (x) => tf.tile(x, [2, 1, 3]),
    'Tile to nothing': (x) => tf.tile(x, [2, 0, 3]),
    Transpose: (x) => tf.transpose(x, [2, 0, 1]),
    Unpack: (x) => tf.unstack(x, 1),
    SpaceToBatchND: (x) => tf.spaceToBatchND(x, [2], [[1, 0]]),
    Squeeze: (x) => tf.squeeze(tf.expandDims(x, 1), [1]),
  }),
  call('BatchToSpaceND', '6 H C', (x: Tensor) => tf.batchToSpaceND(x, [2], [[1, 0]])),
  call('BroadcastTo', 'B 1 C', (x: Tensor) => tf.broadcastTo(x, [x.shape[0]!, 4, x.shape[2]!] as never)),
  call('DepthToSpace', 'B H W 8', (x: tf.Tensor4D) => tf.depthToSpace(x, 2)),
  call('Diag', 'N', (x: Tensor) => tf.diag(x)),
  call('GatherNd', 'N C, I 1 <4', (x: Tensor, i: Tensor) => tf.gatherND(x, i)),
  call('GatherNd of elements', 'N C, I 2 <3', (x: Tensor, i: Tensor) => tf.gatherND(x, i)),
  call('GatherV2', 'N C, I J <4', (x: Tensor, i: tf.Tensor2D) => tf.gather(x, i)),
  call('GatherV2 in batches', 'B N C, B I <4', (x: Tensor, i: tf.Tensor2D) => tf.gather(x, i, 1, 1)),
  call('OneHot', 'B I <5', (i: Tensor) => tf.oneHot(i, 4)),
  call('ScatterNd', 'I 1 <4, I C', (i: Tensor, x: Tensor) => tf.scatterND(i, x, [4, x.shape[1]!] as never)),
  call('ScatterNd into nothing', 'I 2 <4, I', (i: Tensor, x: Tensor) => tf.scatterND(i, x, [4, 4] as never)),
  call('SparseToDense', 'I <4, I, ', (i: Tensor, x: Tensor, y: tf.Scalar) => tf.sparseToDense(tf.reshape(whole([3, 1, 0, 2]).slice(0, i.size), [i.size]), x, [5], y)), // prettier-ignore
  call('TensorScatterUpdate', 'N C, 2 C', (x: Tensor, y: Tensor) => tf.tensorScatterUpdate(x, whole([2, 0], 2, 1), y)),
  call('UnsortedSegmentSum', 'I C, I <4', (x: Tensor, i: tf.Tensor1D) => tf.unsortedSegmentSum(x, i, 4)),
  call('Bincount', 'I <6, I', (i: tf.Tensor1D, w: tf.Tensor1D) => tf.bincount(i, w, 5)),
  call('DenseBincount', 'B I <6, B I', (i: tf.Tensor2D, w: tf.Tensor2D) => tf.denseBincount(i, w, 5)),
  call('DenseBincount, binary', 'B I <6', (i: tf.Tensor2D) => tf.denseBincount(i, tf.tensor2d([], [0, 0]), 5, true)),
];

const creations: Call[] = [
  call('Fill', '', (x: Tensor) => tf.fill([2, 3], 2, x.dtype as 'float32')),
  call('LinSpace', '', () => tf.linspace(1, 2, 5)),
  call('Range', '', (x: Tensor) => tf.range(1, 8, 2, x.dtype as 'float32')),
];

export const plain: Call[] = [...elements, ...folds, ...moves, ...creations];

/** The axes of a call that may be empty. */
export const emptyAxes = ({ operands }: Call): string[] => [...new Set(operands.match(/\b[A-Z]\b/g))];
