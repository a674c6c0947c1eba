import fc from 'fast-check';
import { tf, type Tensor } from '../../src/index.ts';
import { apart, between, int, kernel, normal, values, type Case } from './draw.ts';

/** Cases with random shapes, axes, broadcasting, ties, paddings, strides and dilations. */

/** Takes the choices of a case from a random stream. */
interface Choose {
  int: (low: number, high: number) => number;
  of: <T>(list: readonly T[]) => T;
  flag: () => boolean;
  /** Sizes from 1 to `largest`. */
  shape: (low: number, high: number, largest?: number) => number[];
}
type Family = (choose: Choose) => Case;

const any = (x: unknown): never => x as never;
const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
/** An axis, counted from the front or from the end. */
const signedAxis = (c: Choose, rank: number): number => c.int(0, rank - 1) - (c.flag() ? rank : 0);
/** Some axes, at least one, in any order. */
function someAxes(c: Choose, rank: number): number[] {
  const all = Array.from({ length: rank }, (_, i) => i).filter(() => c.flag());
  const axes = all.length > 0 ? all : [c.int(0, rank - 1)];
  return (c.flag() ? axes.reverse() : axes).map((axis) => axis - (c.flag() ? rank : 0));
}
/** Two shapes that broadcast: some axes of each are 1, and one of them may have fewer axes. */
function broadcast(c: Choose): [number[], number[]] {
  const full = c.shape(1, 4, 3);
  const thin = (): number[] => full.map((size) => (c.int(0, 2) === 0 ? 1 : size)).slice(c.int(0, 2));
  const [a, b] = [c.flag() ? full : thin(), thin()];
  return c.flag() ? [a, b] : [b, a];
}
/** Whole numbers from -1 to 1, so that many elements are equal. */
const tied = (c: Choose, ...shapes: number[][]): Case['xs'] => values(...shapes.map((shape): [number[], number[]] => [Array.from({ length: sizeOf(shape) }, () => c.int(-1, 1)), shape])); // prettier-ignore

const pairs: readonly [string, Case['f'], (...shapes: number[][]) => Case['xs']][] = [
  ['Add', (a, b) => tf.add(a!, b!), normal],
  ['Sub', (a, b) => tf.sub(a!, b!), normal],
  ['Multiply', (a, b) => tf.mul(a!, b!), normal],
  ['RealDiv', (a, b) => tf.div(a!, b!), (...shapes) => between(0.7, 2, ...shapes)],
  ['SquaredDifference', (a, b) => tf.squaredDifference(a!, b!), normal],
  ['Maximum', (a, b) => tf.maximum(a!, b!), apart],
  ['Minimum', (a, b) => tf.minimum(a!, b!), apart],
  ['Atan2', (a, b) => tf.atan2(a!, b!), (...shapes) => between(0.7, 2, ...shapes)],
  ['Pow', (a, b) => tf.pow(a!, b!), (...shapes) => between(0.7, 2, ...shapes)],
  ['Prelu', (a, b) => tf.prelu(a!, b!), apart],
  ['Select', (a, b) => tf.where(tf.greater(a!, b!), a!, b!), apart],
];

const elements: Family[] = [
  (c) => {
    const [kernelName, f, draw] = c.of(pairs);
    const [a, b] = broadcast(c);
    return { kernel: kernelName, about: `[${a}] with [${b}]`, f, xs: draw(a, b) };
  },
  (c) => {
    const [a, b] = broadcast(c);
    const most = c.flag();
    return { kernel: most ? 'Maximum' : 'Minimum', about: `ties, [${a}] with [${b}]`, f: (x, y) => (most ? tf.maximum : tf.minimum)(x!, y!), xs: tied(c, a, b), ties: true }; // prettier-ignore
  },
  (c) => {
    const shape = c.shape(1, 4, 3);
    return { kernel: 'Softmax', about: `[${shape}]`, f: (x) => tf.softmax(x!), xs: normal(shape) };
  },
];

const folds: Family[] = [
  (c) => {
    const op = c.of(['sum', 'mean', 'prod', 'max', 'min'] as const);
    const shape = c.shape(1, 4, 3);
    const axes = someAxes(c, shape.length);
    const keep = c.flag();
    const zeros = op === 'prod' && c.flag();
    const about = `[${shape}] over ${JSON.stringify(axes)}${keep ? ', kept' : ''}${zeros ? ', zeros' : ''}`;
    const xs = zeros ? tied(c, shape) : op === 'prod' ? between(0.6, 1.6, shape) : apart(shape);
    return { kernel: op[0]!.toUpperCase() + op.slice(1), about, f: (x) => tf[op](x!, axes, keep), xs };
  },
  (c) => {
    const op = c.of(['max', 'min'] as const);
    const shape = c.shape(1, 4, 3);
    const axes = someAxes(c, shape.length);
    return { kernel: op === 'max' ? 'Max' : 'Min', about: `ties, [${shape}] over ${JSON.stringify(axes)}`, f: (x) => tf[op](x!, axes, true), xs: tied(c, shape), ties: true }; // prettier-ignore
  },
  (c) => {
    const op = c.of(['cumsum', 'cumprod'] as const);
    const shape = c.shape(1, 4, 4);
    // On `cpu` an axis counted from the end is wrong even in the forward pass.
    const [axis, exclusive, reverse] = [c.int(0, shape.length - 1), c.flag(), c.flag()];
    const about = `[${shape}] along ${axis}${exclusive ? ', exclusive' : ''}${reverse ? ', reverse' : ''}`;
    return { kernel: op === 'cumsum' ? 'Cumsum' : 'Cumprod', about, f: (x) => tf[op](x!, axis, exclusive, reverse), xs: op === 'cumsum' ? normal(shape) : tied(c, shape) }; // prettier-ignore
  },
  (c) => {
    const shape = c.shape(1, 3, 4);
    const k = c.int(1, shape.at(-1)!);
    return { kernel: 'TopK', about: `${k} of [${shape}]`, f: (x) => tf.topk(x!, k).values, xs: apart(shape) };
  },
  (c) => {
    const shape = c.shape(1, 3, 4);
    const [places, count] = [Array.from({ length: shape[0]! }, () => c.int(0, 2)), c.int(3, 4)];
    return { kernel: 'UnsortedSegmentSum', about: `[${shape}] to [${places}]`, f: (x) => tf.unsortedSegmentSum(x!, int(places) as never, count), xs: normal(shape) }; // prettier-ignore
  },
];

const shuffled = (c: Choose, rank: number): number[] => {
  const order = Array.from({ length: rank }, (_, i) => i);
  return order.reduce<number[]>((taken) => [...taken, c.of(order.filter((axis) => !taken.includes(axis)))], []);
};

const moves: Family[] = [
  (c) => {
    const shape = c.shape(1, 4, 3);
    const order = shuffled(c, shape.length);
    return { kernel: 'Transpose', about: `[${shape}] to [${order}]`, f: (x) => tf.transpose(x!, order), xs: normal(shape) };
  },
  (c) => {
    const shape = c.shape(1, 4, 3);
    const axes = [...new Set(someAxes(c, shape.length))];
    return { kernel: 'Reverse', about: `[${shape}] along [${axes}]`, f: (x) => tf.reverse(x!, axes), xs: normal(shape) };
  },
  (c) => {
    const shape = c.shape(1, 4, 4);
    const begin = shape.map((size) => c.int(0, size - 1));
    const size = shape.map((full, i) => (c.int(0, 3) === 0 ? -1 : c.int(1, full - begin[i]!)));
    return { kernel: 'Slice', about: `[${shape}] from [${begin}], [${size}]`, f: (x) => tf.slice(x!, begin, size), xs: normal(shape) };
  },
  (c) => {
    const shape = c.shape(1, 4, 4);
    const back = shape.map(() => c.flag());
    const begin = shape.map((size, i) => (back[i] ? c.int(0, size - 1) : -c.int(1, size)));
    const end = shape.map((size, i) => (back[i] ? -size - 1 : size));
    const strides = back.map((turned) => (turned ? -1 : 1) * c.int(1, 3));
    return { kernel: 'StridedSlice', about: `[${shape}] from [${begin}] by [${strides}]`, f: (x) => tf.stridedSlice(x!, begin, end, strides), xs: normal(shape) }; // prettier-ignore
  },
  (c) => {
    const shape = c.shape(1, 4, 3);
    const widths = shape.map((): [number, number] => [c.int(0, 2), c.int(0, 2)]);
    return { kernel: 'PadV2', about: `[${shape}] by ${JSON.stringify(widths)}`, f: (x) => tf.pad(x!, widths, 2), xs: normal(shape) };
  },
  (c) => {
    const shape = c.shape(1, 4, 4);
    const mode = c.of(['reflect', 'symmetric'] as const);
    const widths = shape.map((size): [number, number] => [c.int(0, size - (mode === 'reflect' ? 1 : 0)), c.int(0, size - (mode === 'reflect' ? 1 : 0))]); // prettier-ignore
    return { kernel: 'MirrorPad', about: `${mode}, [${shape}] by ${JSON.stringify(widths)}`, f: (x) => tf.mirrorPad(x!, widths, mode), xs: normal(shape) }; // prettier-ignore
  },
  (c) => {
    const shape = c.shape(1, 4, 3);
    const reps = shape.map(() => c.int(1, 3));
    return { kernel: 'Tile', about: `[${shape}] by [${reps}]`, f: (x) => tf.tile(x!, reps), xs: normal(shape) };
  },
  (c) => {
    const shape = c.shape(1, 4, 3);
    const axis = signedAxis(c, shape.length);
    const other = shape.map((size, i) => (i === (axis + shape.length) % shape.length ? c.int(1, 3) : size));
    return { kernel: 'Concat', about: `[${shape}] and [${other}] along ${axis}`, f: (a, b) => tf.concat([a!, b!, a!], axis), xs: normal(shape, other) }; // prettier-ignore
  },
  (c) => {
    const shape = c.shape(1, 4, 3);
    const axis = signedAxis(c, shape.length);
    return { kernel: 'Unpack', about: `[${shape}] along ${axis}`, f: (x) => tf.unstack(x!, axis).reduce((a, b) => tf.add(tf.mul(a, 2), b)), xs: normal(shape) }; // prettier-ignore
  },
  (c) => {
    const shape = c.shape(1, 4, 3);
    const axis = signedAxis(c, shape.length);
    const [first, second] = [c.int(1, 2), c.int(1, 2)];
    const whole = shape.map((size, i) => (i === (axis + shape.length) % shape.length ? first + second : size));
    return { kernel: 'SplitV', about: `[${whole}] along ${axis}: ${first}, ${second}`, f: (x) => tf.split(x!, [first, second], axis)[0]!, xs: normal(whole) }; // prettier-ignore
  },
  (c) => {
    const shape = c.shape(1, 4, 3);
    const batchDims = c.int(0, Math.min(2, shape.length - 1));
    const axis = c.int(batchDims, shape.length - 1);
    const indexShape = [...shape.slice(0, batchDims), ...c.shape(1, 2, 3)];
    const indices = Array.from({ length: sizeOf(indexShape) }, () => c.int(0, shape[axis]! - 1));
    return { kernel: 'GatherV2', about: `[${shape}] along ${axis}, indices [${indexShape}], batchDims ${batchDims}`, f: (x) => tf.gather(x!, int(indices, indexShape), axis, batchDims), xs: normal(shape) }; // prettier-ignore
  },
  (c) => {
    const shape = c.shape(1, 4, 3);
    const [depth, rows] = [c.int(1, shape.length), c.int(1, 4)];
    const indices = Array.from({ length: rows * depth }, (_, i) => c.int(0, shape[i % depth]! - 1));
    return { kernel: 'GatherNd', about: `[${shape}] at [${rows}, ${depth}]`, f: (x) => tf.gatherND(x!, int(indices, [rows, depth])), xs: normal(shape) }; // prettier-ignore
  },
  (c) => {
    const shape = c.shape(1, 4, 3);
    const [depth, rows] = [c.int(1, shape.length), c.int(1, 4)];
    const indices = Array.from({ length: rows * depth }, (_, i) => c.int(0, shape[i % depth]! - 1));
    return { kernel: 'ScatterNd', about: `[${rows}, ${depth}] into [${shape}]`, f: (x) => tf.scatterND(int(indices, [rows, depth]), x!, shape), xs: normal([rows, ...shape.slice(depth)]) }; // prettier-ignore
  },
  (c) => {
    const [block, crops] = [[c.int(1, 2), c.int(1, 2)], [[c.int(0, 1), 0], [0, c.int(0, 1)]]]; // prettier-ignore
    const shape = [sizeOf(block) * c.int(1, 2), 2, 2, c.int(1, 2)];
    return {
      kernel: 'BatchToSpaceND',
      about: `[${shape}] by [${block}]`,
      f: (x) => tf.batchToSpaceND(x!, block, crops),
      xs: normal(shape),
    };
  },
];

const products: Family[] = [
  (c) => {
    const batch = c.shape(0, 2, 2);
    const thin = (): number[] => batch.map((size) => (c.flag() ? 1 : size)).slice(c.int(0, batch.length));
    const [m, k, n, ta, tb] = [c.int(1, 3), c.int(1, 3), c.int(1, 3), c.flag(), c.flag()];
    const [a, b] = [
      [...batch, ...(ta ? [k, m] : [m, k])],
      [...thin(), ...(tb ? [n, k] : [k, n])],
    ];
    return { kernel: 'BatchMatMul', about: `[${a}]${ta ? 'ᵀ' : ''} times [${b}]${tb ? 'ᵀ' : ''}`, f: (x, y) => tf.matMul(x!, y!, ta, tb), xs: normal(a, b) }; // prettier-ignore
  },
  (c) => {
    const depthwise = c.flag();
    const [stride, dilation] = c.of([[1, 1], [2, 1], [1, 2], [3, 1]] as const); // prettier-ignore
    const filter = [c.int(1, 3), c.int(1, 2), c.int(1, 2), c.int(1, 2)];
    const x = [1, c.int(5, 6), c.int(4, 5), filter[2]!];
    const pad = c.of(['same', 'valid', 1] as const);
    const strides: [number, number] = depthwise ? [stride, stride] : [stride, c.flag() ? stride : dilation === 1 ? 1 : stride];
    const about = `[${x}] by [${filter}], ${pad}, strides ${strides}, dilation ${dilation}`;
    const f = (a: Tensor, w: Tensor): Tensor =>
      depthwise ? tf.depthwiseConv2d(any(a), any(w), strides, pad, 'NHWC', dilation) : tf.conv2d(any(a), any(w), strides, pad, 'NHWC', dilation); // prettier-ignore
    return { kernel: depthwise ? 'DepthwiseConv2dNative' : 'Conv2D', about, f: (a, w) => f(a!, w!), xs: normal(x, filter) };
  },
  (c) => {
    const stride = c.int(1, 2);
    const filter = [c.int(1, 3), c.int(1, 3), 2, c.int(1, 2)];
    const y = [1, c.int(2, 3), c.int(1, 3), filter[3]!];
    const out: [number, number, number, number] = [1, y[1]! * stride, y[2]! * stride, 2];
    return { kernel: 'Conv2DBackpropInput', about: `[${y}] by [${filter}], stride ${stride}`, f: (a, w) => tf.conv2dTranspose(any(a), any(w), out, stride, 'same'), xs: normal(y, filter) }; // prettier-ignore
  },
  (c) => {
    const filter = [c.int(1, 2), c.int(1, 2), c.int(1, 2), c.int(1, 2), 1];
    const x = [1, 3, c.int(2, 3), c.int(2, 4), filter[3]!];
    const [stride, pad] = [c.int(1, 2), c.of(['same', 'valid'] as const)];
    return { kernel: 'Conv3D', about: `[${x}] by [${filter}], ${pad}, stride ${stride}`, f: (a, w) => tf.conv3d(any(a), any(w), stride, pad), xs: normal(x, filter) }; // prettier-ignore
  },
];

/** A pool over images or volumes. The padding is smaller than the window. */
function pool(c: Choose, ties: boolean): Case {
  const volume = c.flag();
  const [size, stride] = [c.int(1, 3), c.int(1, 3)];
  const pad = c.of(['same', 'valid', ...(size > 1 ? [1] : [])] as const) as 'same';
  const x = volume ? [1, 3, c.int(3, 4), 3, 1] : [c.int(1, 2), c.int(3, 5), c.int(3, 4), c.int(1, 2)];
  const most = ties || c.flag();
  const f = volume ? (most ? tf.maxPool3d : tf.avgPool3d) : most ? tf.maxPool : tf.avgPool;
  return {
    kernel: `${most ? 'Max' : 'Avg'}Pool${volume ? '3D' : ''}`,
    about: `${ties ? 'ties, ' : ''}[${x}], ${pad}, window ${size}, stride ${stride}`,
    f: (a) => (f as (...args: unknown[]) => Tensor)(a, size, stride, pad),
    xs: ties ? tied(c, x) : apart(x),
    ties,
  };
}

const neighbourhoods: Family[] = [
  // A window of one element that moves by one is the identity, which has no pool to differentiate.
  (c) => pool(c, false),
  (c) => pool(c, true),
  (c) => {
    const [x, size] = [[c.int(1, 2), c.int(1, 4), c.int(1, 4), c.int(1, 2)], [c.int(1, 6), c.int(1, 6)] as [number, number]];
    const [align, half, linear] = [...c.of([[false, false], [true, false], [false, true]] as const), c.flag()]; // prettier-ignore
    return {
      kernel: linear ? 'ResizeBilinear' : 'ResizeNearestNeighbor',
      about: `[${x}] to [${size}]${align ? ', corners aligned' : ''}${half ? ', half pixels' : ''}`,
      f: (a) => (linear ? tf.image.resizeBilinear : tf.image.resizeNearestNeighbor)(any(a), size, align, half),
      xs: normal(x),
    };
  },
  (c) => {
    const [x, filter, rate] = [[1, c.int(3, 4), c.int(3, 4), c.int(1, 2)], [c.int(1, 2), c.int(1, 2)], c.int(1, 2)];
    const pad = c.of(['same', 'valid'] as const);
    const w = [...filter, x[3]!];
    return { kernel: 'Dilation2D', about: `[${x}] by [${w}], ${pad}, rate ${rate}`, f: (a, b) => tf.dilation2d(any(a), any(b), 1, pad, rate), xs: () => [...apart(x)(), ...between(-0.05, 0.05, w)()] }; // prettier-ignore
  },
  (c) => {
    const [x, radius] = [[1, c.int(1, 2), c.int(1, 2), c.int(1, 5)], c.int(0, 3)];
    const [bias, alpha, beta] = [c.of([1, 2]), c.of([0.3, 1]), c.of([0.5, 0.75])];
    return { kernel: 'LRN', about: `[${x}], radius ${radius}, ${bias}, ${alpha}, ${beta}`, f: (a) => tf.localResponseNormalization(any(a), radius, bias, alpha, beta), xs: normal(x) }; // prettier-ignore
  },
  (c) => {
    const x = c.shape(2, 4, 3);
    const moment = c.flag() ? [x.at(-1)!] : x;
    const norm = (...[a, mean, variance, offset, scale]: Tensor[]): Tensor => tf.batchNorm(a!, any(mean), any(tf.add(tf.square(variance!), 1)), any(offset), any(scale), 0.01); // prettier-ignore
    return { kernel: 'FusedBatchNorm', about: `[${x}] with [${moment}]`, f: norm, xs: normal(x, moment, moment, moment, moment) };
  },
  (c) => {
    const [block, x] = [2, [c.int(1, 2), c.int(1, 2), c.int(1, 3), 4 * c.int(1, 2)]];
    return { kernel: 'DepthToSpace', about: `[${x}]`, f: (a) => kernel('DepthToSpace', { x: a! }, { blockSize: block, dataFormat: 'NHWC' }), xs: normal(x) }; // prettier-ignore
  },
];

const families: readonly Family[] = [...elements, ...folds, ...moves, ...products, ...neighbourhoods];

/** A random case. */
export const randomCase: fc.Arbitrary<Case> = fc.gen().map((g) => {
  const whole = (low: number, high: number): number => g(fc.integer, { min: low, max: high });
  const choose: Choose = {
    int: whole,
    of: (list) => list[whole(0, list.length - 1)]!,
    flag: () => whole(0, 1) === 1,
    shape: (low, high, largest = 4) => Array.from({ length: whole(low, high) }, () => whole(1, largest)),
  };
  return choose.of(families)(choose);
});
