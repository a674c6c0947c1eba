import { tf, type Tensor } from '../../src/index.ts';
import { apart, between, kernel, normal, type Case } from './draw.ts';

const unary = (name: string, f: (x: Tensor) => Tensor, low: number, high: number): Case => ({
  kernel: name,
  f: f as Case['f'],
  xs: between(low, high, [2, 3]),
});

/** Functions of one tensor, entry by entry. */
export const smooth: Case[] = [
  unary('Abs', tf.abs, -2, -0.5),
  unary('Acos', tf.acos, -0.6, 0.6),
  unary('Acosh', tf.acosh, 1.5, 3),
  unary('Asin', tf.asin, -0.6, 0.6),
  unary('Asinh', tf.asinh, -2, 2),
  unary('Atan', tf.atan, -2, 2),
  unary('Atanh', tf.atanh, -0.6, 0.6),
  unary('Cos', tf.cos, -2, 2),
  unary('Cosh', tf.cosh, -1, 1),
  unary('Erf', tf.erf, -1, 1),
  unary('Exp', tf.exp, -1, 1),
  unary('Expm1', tf.expm1, -1, 1),
  unary('Identity', (x) => x.clone(), -1, 1),
  unary('LeakyRelu', (x) => tf.leakyRelu(x, 0.3), -2, -0.2),
  unary('Log', tf.log, 0.5, 2),
  unary('Log1p', tf.log1p, -0.5, 2),
  unary('Neg', tf.neg, -2, 2),
  unary('Reciprocal', tf.reciprocal, 0.7, 2),
  unary('Relu', tf.relu, 0.2, 2),
  unary('Relu6', tf.relu6, 0.2, 2),
  unary('Rsqrt', tf.rsqrt, 0.7, 2),
  unary('Selu', tf.selu, -2, -0.2),
  unary('Sigmoid', tf.sigmoid, -2, 2),
  unary('Sin', tf.sin, -2, 2),
  unary('Sinh', tf.sinh, -1, 1),
  unary('Softplus', tf.softplus, -2, 2),
  unary('Sqrt', tf.sqrt, 0.7, 2),
  unary('Square', tf.square, -2, 2),
  unary('Tan', tf.tan, -0.8, 0.8),
  unary('Tanh', tf.tanh, -1, 1),
  unary('Elu', tf.elu, -2, -0.2),
  { kernel: 'Elu', about: 'above 0', f: (x) => tf.elu(x!), xs: between(0.2, 2, [3]) },
  ...(['Ceil', 'Floor', 'Round', 'Sign', 'Step', 'IsNan', 'IsInf', 'IsFinite', 'ZerosLike', 'OnesLike'] as const).map((name): Case => ({
    kernel: name,
    f: (x) => tf.cast(kernel(name, { x: x! }, name === 'Step' ? { alpha: 0 } : {}), 'float32'),
    xs: between(0.1, 0.4, [4]),
  })),
  { kernel: 'ClipByValue', f: (x) => tf.clipByValue(x!, -1, 1), xs: apart([3, 4]) },
  { kernel: 'Cast', about: 'to whole numbers', f: (x) => tf.cast(tf.cast(x!, 'int32'), 'float32'), xs: apart([5]) },
  { kernel: 'Cast', about: 'to float32', f: (x) => tf.cast(x!, 'float32').mul(2), xs: normal([5]) },
  { kernel: 'Softmax', f: (x) => tf.softmax(x!), xs: normal([2, 4]) },
];

/** Each with the operands broadcast against each other in both directions. */
const broadcasting: [number[], number[]][] = [
  [
    [2, 3],
    [2, 3],
  ],
  [
    [2, 1, 3],
    [4, 1],
  ],
  [[3], [2, 3]],
  [[2, 2], []],
  [
    [1, 1],
    [2, 1],
  ],
];
const pairs: [string, Case['f'], () => (...shapes: number[][]) => () => Tensor[]][] = [
  ['Add', (a, b) => tf.add(a!, b!), () => normal],
  ['Sub', (a, b) => tf.sub(a!, b!), () => normal],
  ['Multiply', (a, b) => tf.mul(a!, b!), () => normal],
  ['RealDiv', (a, b) => tf.div(a!, tf.add(tf.square(b!), 1)), () => normal],
  ['SquaredDifference', (a, b) => tf.squaredDifference(a!, b!), () => normal],
  ['Maximum', (a, b) => tf.maximum(a!, b!), () => apart],
  ['Minimum', (a, b) => tf.minimum(a!, b!), () => apart],
  [
    'Atan2',
    (a, b) => tf.atan2(a!, b!),
    () =>
      (...shapes) =>
        between(0.7, 2, ...shapes),
  ],
  [
    'Pow',
    (a, b) => tf.pow(a!, b!),
    () =>
      (...shapes) =>
        between(0.7, 2, ...shapes),
  ],
  [
    'Mod',
    (a, b) => tf.mod(tf.add(a!, 7), tf.add(tf.mul(b!, 0), 5)).add(tf.mod(tf.mul(a!, 0).add(12.5), b!)),
    () =>
      (...shapes) =>
        between(2.2, 2.4, ...shapes),
  ],
  [
    'FloorDiv',
    (a, b) => tf.floorDiv(tf.add(a!, 1), b!),
    () =>
      (...shapes) =>
        between(2.2, 2.4, ...shapes),
  ],
  ['Prelu', (a, b) => tf.prelu(a!, b!), () => apart],
];
/** Functions of two tensors. */
export const binary: Case[] = pairs.flatMap(([name, f, draw]) =>
  broadcasting
    .filter(([a, b]) => name !== 'Prelu' || b.length === 0 || a.join() === b.join())
    .map((shapes): Case => ({ kernel: name, about: `[${shapes[0]}] with [${shapes[1]}]`, f, xs: draw()(...shapes) })),
);

/** Comparisons, inside of something that has a derivative. */
export const comparisons: Case[] = (['Equal', 'NotEqual', 'Greater', 'Less', 'LessEqual', 'GreaterEqual'] as const).map((name) => ({
  kernel: name,
  f: (a, b) => tf.where(kernel(name, { a: a!, b: b! }), tf.mul(a!, 2), b!),
  xs: apart([2, 3], [2, 3]),
}));
/** Truth values, choices and places. */
export const logic: Case[] = [
  { kernel: 'LogicalNot', f: (x) => tf.mul(x!, tf.cast(tf.logicalNot(tf.greater(x!, 0)), 'float32')), xs: apart([5]) },
  ...(['LogicalAnd', 'LogicalOr'] as const).map((name): Case => ({
    kernel: name,
    f: (x) => tf.where(kernel(name, { a: tf.greater(x!, 0), b: tf.less(x!, 1) }), tf.square(x!), x!),
    xs: apart([7]),
  })),
  ...(['All', 'Any'] as const).map((name): Case => ({
    kernel: name,
    f: (x) => tf.where(kernel(name, { x: tf.greater(x!, 0) }, { axis: [1], keepDims: true }), x!, tf.square(x!)),
    xs: apart([2, 3]),
  })),
  { kernel: 'Select', f: (a, b) => tf.where(tf.tensor1d([1, 0, 1], 'bool'), a!, b!), xs: normal([2, 3], [3]) },
  ...(['ArgMax', 'ArgMin'] as const).map((name): Case => ({
    kernel: name,
    f: (x) => tf.mul(tf.cast(tf.expandDims(name === 'ArgMax' ? tf.argMax(x!, 1) : tf.argMin(x!, 1), 1), 'float32'), x!),
    xs: apart([2, 3]),
  })),
  { kernel: 'OneHot', f: (x) => tf.mul(tf.oneHot(tf.cast(x!, 'int32'), 3), tf.expandDims(x!, 1)), xs: between(1.2, 1.8, [3]) },
];
