import { tf, type Tensor } from '../tfjs.ts';
import { gradient, runKernel, type Gradient } from './gradient.ts';
import { scatterRows } from './rows.ts';
import { sumTo } from './sum-to.ts';

type Conv = {
  strides: number | number[];
  pad: unknown;
  dataFormat?: string;
  dimRoundingMode?: string;
  dilations?: number | number[] | null;
};

/** The distance between neighbouring elements of a dilated filter, for each of its `axes` spatial axes. */
const spacing = (dilations: Conv['dilations'], axes: number): number[] => {
  const list = [dilations ?? 1].flat();
  return Array.from({ length: axes }, (_, i) => (list.length === 1 ? list[0]! : list[list.length - axes + i]!));
};

/** Positions of the elements of a filter that has zeros between them. */
const taps = (size: number, distance: number): number[] => Array.from({ length: size }, (_, i) => i * distance);

/** A filter with explicit zeros between its elements, so that a dilated convolution becomes an ordinary one. */
const dilated = (filter: Tensor, distances: number[]): Tensor =>
  distances.reduce(
    (f, distance, axis) => (distance === 1 ? f : scatterRows(f, taps(f.shape[axis]!, distance), axis, (f.shape[axis]! - 1) * distance + 1)),
    filter,
  );

/** The elements of a filter without the explicit zeros. */
const undilated = (filter: Tensor, shape: readonly number[], distances: number[]): Tensor =>
  distances.reduce(
    (f, distance, axis) => (distance === 1 ? f : tf.gather(f, tf.tensor1d(taps(shape[axis]!, distance), 'int32'), axis)),
    filter,
  );

/**
 * The kernels of a kind of convolution: the convolution, its transposes with respect to input and filter, and the number of its spatial
 * axes.
 */
type Kind = { forward: string; input: string; filter: string; axes: number };

const kinds: readonly Kind[] = [
  { forward: 'Conv2D', input: 'Conv2DBackpropInput', filter: 'Conv2DBackpropFilter', axes: 2 },
  { forward: 'DepthwiseConv2dNative', input: 'DepthwiseConv2dNativeBackpropInput', filter: 'DepthwiseConv2dNativeBackpropFilter', axes: 2 },
  { forward: 'Conv3D', input: 'Conv3DBackpropInputV2', filter: 'Conv3DBackpropFilterV2', axes: 3 },
];

/**
 * A convolution is linear in its input and in its filter. Each derivative of the convolution and its two transposes is again one of these
 * three kernels.
 */
function convolution({ forward, input, filter: ofFilter, axes }: Kind): Gradient[] {
  const runHere: typeof runKernel = (name, inputs, attributes) => {
    if (axes === 3 && tf.getBackend() === 'wasm')
      throw new Error(
        `${forward}: wanted an engine with a correct derivative of it (ort, cpu), got wasm, whose kernels give wrong numbers`,
      );
    return runKernel(name, inputs, attributes);
  };
  const ones = Array.from({ length: axes }, () => 1);
  const plain = ({ strides, pad, dataFormat, dimRoundingMode }: Conv): Record<string, unknown> => ({
    strides,
    pad,
    dimRoundingMode,
    dilations: axes === 3 ? [1, 1, 1] : [1, 1],
    dataFormat: dataFormat ?? (axes === 3 ? 'NDHWC' : 'NHWC'),
  });
  const run = (x: Tensor, filter: Tensor, a: Conv): Tensor => runHere(forward, { x, filter }, plain(a));
  const toInput = (dy: Tensor, filter: Tensor, inputShape: number[], a: Conv): Tensor =>
    runHere(input, { dy, filter }, { ...plain(a), inputShape });
  const toFilter = (x: Tensor, dy: Tensor, filterShape: number[], a: Conv): Tensor =>
    runHere(ofFilter, { x, dy }, { ...plain(a), filterShape });
  return [
    gradient(forward, ['x', 'filter'], (dy, [x, filter], a: Conv) => {
      const distances = a.dilations === undefined ? ones : spacing(a.dilations, axes);
      const wide = filter!.shape.map((size, i) => (i < axes ? (size - 1) * distances[i]! + 1 : size));
      return {
        x: () => toInput(dy, dilated(filter!, distances), x!.shape, a),
        filter: () => undilated(toFilter(x!, dy, wide, a), filter!.shape, distances),
      };
    }),
    gradient(input, ['dy', 'filter'], (ddx, [dy, filter], a: Conv) => ({
      dy: () => run(ddx, filter!, a),
      filter: () => toFilter(ddx, dy!, filter!.shape, a),
    })),
    gradient(ofFilter, ['x', 'dy'], (ddw, [x, dy], a: Conv) => ({
      x: () => toInput(dy!, ddw, x!.shape, a),
      dy: () => run(x!, ddw, a),
    })),
  ];
}

/** Derivatives of matrix products and convolutions. */
export const linear = (): Gradient[] => [
  gradient('BatchMatMul', ['a', 'b'], (dy, [a, b], { transposeA: ta, transposeB: tb }: { transposeA: boolean; transposeB: boolean }) => ({
    a: () => sumTo(ta ? tf.matMul(b!, dy, tb, true) : tf.matMul(dy, b!, false, !tb), a!.shape),
    b: () => sumTo(tb ? tf.matMul(dy, a!, true, ta) : tf.matMul(a!, dy, !ta, false), b!.shape),
  })),
  ...kinds.flatMap(convolution),
];
