import { tf } from '../src/tf.ts';
import { operators, type Operator } from './operator.ts';
import type { Pool, Tensor } from './pool.ts';

/** Products, convolutions, pools, resizing, normalization, and functions made of several operators. */

const any = (x: unknown): never => x as never;
const shapeOf = (x: Tensor): [number, number, number, number] => x.shape as [number, number, number, number];
const pads = ['same', 'valid', 1] as const;

/** A window that fits the image for every kind of padding. */
function window(p: Pool, x: Tensor): { size: [number, number]; stride: number; pad: (typeof pads)[number] } {
  const [, h, w] = shapeOf(x);
  return { size: [p.between(1, Math.min(3, h)), p.between(1, Math.min(3, w))], stride: p.between(1, 2), pad: p.of(pads) };
}

/** A pad that is smaller than the window, as pools want it. */
const poolPad = ({ size, pad }: { size: [number, number]; pad: (typeof pads)[number] }) =>
  pad === 1 && Math.min(...size) < 2 ? 'valid' : pad;

const tame = (x: Tensor): Tensor => tf.clipByValue(x, -1e6, 1e6);
const matrix = (p: Pool): Tensor => p.any((x) => x.rank >= 2 && x.rank <= 4 && x.size > 0);

export const windows: Operator[] = [
  ...operators('sum')({
    matMul: (p) => {
      const a = p.small((x) => x.rank >= 2 && x.rank <= 4 && x.size > 0);
      const [ta, tb] = [p.flag(), p.flag()];
      const inner = a.shape[a.rank - (ta ? 2 : 1)]!;
      const b = p.any((x) => x.rank === a.rank && x.size > 0 && x.shape[x.rank - (tb ? 1 : 2)] === inner && x.shape.slice(0, -2).join() === a.shape.slice(0, -2).join() && x.dtype === a.dtype && x.dtype !== 'bool'); // prettier-ignore
      return tf.matMul(a, b.dtype === 'int32' ? tf.mod(b, tf.scalar(7, 'int32')) : b, ta, tb);
    },
    'matMul with a fixed matrix': (p) => {
      const a = tf.cast(matrix(p), 'float32');
      const inner = a.shape[a.rank - 1]!;
      const b = p.fixed([...new Array<number>(a.rank - 2).fill(1), inner, p.between(1, 4)]);
      return tf.matMul(a, b);
    },
    'matMul with itself': (p) => {
      const a = tf.cast(matrix(p), 'float32');
      return tf.matMul(a, a, false, true);
    },
    'fused matMul': (p) => {
      const x = p.float((y) => y.size > 0);
      const a = tf.reshape(x, [-1, p.of([1, 2, 3].filter((d) => x.size % d === 0))]);
      const n = p.between(1, 3);
      const activation = p.of(['linear', 'relu', 'relu6'] as const);
      return tf.fused.matMul({ a, b: p.fixed([a.shape[1]!, n]), bias: p.fixed([n]), activation, transposeA: false, transposeB: false });
    },
    conv2d: (p) => {
      const x = p.image();
      const { size, stride, pad } = window(p, x);
      return tf.conv2d(any(x), any(p.fixed([...size, x.shape[3]!, p.between(1, 3)])), stride, pad);
    },
    'dilated conv2d': (p) => {
      const x = p.image();
      return tf.conv2d(any(x), any(p.fixed([2, 2, x.shape[3]!, 2])), 1, 'same', 'NHWC', 2) as Tensor;
    },
    conv1d: (p) => {
      const x = p.image();
      const [, h, w, c] = shapeOf(x);
      return tf.conv1d(any(tf.reshape(x, [h, w, c])), any(p.fixed([Math.min(2, w), c, 2])), 1, 'same');
    },
    depthwiseConv2d: (p) => {
      const x = p.image();
      const { size, stride, pad } = window(p, x);
      return tf.depthwiseConv2d(any(x), any(p.fixed([...size, x.shape[3]!, p.between(1, 2)])), stride, pad);
    },
    conv2dTranspose: (p) => {
      const x = p.image();
      const [, h, w, c] = shapeOf(x);
      const stride = p.between(1, 2);
      return tf.conv2dTranspose(any(x), any(p.fixed([2, 3, 2, c])), [1, h * stride, w * stride, 2], stride, 'same');
    },
    conv3d: (p) => {
      const x = p.image();
      return tf.conv3d(any(tf.expandDims(x, 1)), any(p.fixed([1, 2, 2, x.shape[3]!, 2])), 1, 'same');
    },
    separableConv2d: (p) => {
      const x = p.image();
      const c = x.shape[3]!;
      return tf.separableConv2d(any(x), any(p.fixed([2, 2, c, 2])), any(p.fixed([1, 1, c * 2, 3])), 1, 'same');
    },
    'fused conv2d': (p) => {
      const x = p.image();
      return tf.fused.conv2d({ x: any(x), filter: any(p.fixed([2, 2, x.shape[3]!, 2])), strides: 1, pad: 'same', bias: p.fixed([2]), activation: p.of(['linear', 'relu'] as const) }); // prettier-ignore
    },
  }),
  // Gradients: those of pools and resizing are wrong or lose ties in TensorFlow.js, the others are missing.
  ...operators(
    'sum',
    false,
  )({
    avgPool: (p) => {
      const x = p.image();
      const of = window(p, x);
      return tf.avgPool(any(x), of.size, of.stride, poolPad(of));
    },
    // Between infinite elements the two engines interpolate in another order.
    resizeBilinear: (p) => tf.image.resizeBilinear(any(tame(p.image())), [p.between(1, 5), p.between(1, 5)], p.flag()),
    'resizeBilinear, half pixels': (p) => tf.image.resizeBilinear(any(tame(p.image())), [p.between(1, 5), p.between(1, 5)], false, true),
    einsum: (p) => {
      const x = p.float((y) => y.rank === 2 && y.size > 0);
      return tf.einsum(p.of(['ij,ij->i', 'ij,kj->ik', 'ij,ij->', 'ij,ik->jk']), x, x);
    },
    cropAndResize: (p) => {
      const x = tame(p.image());
      const boxes = tf.tensor2d([[0.1, 0, 0.8, 1], [0, 0.2, 1.2, 0.9]]); // prettier-ignore
      return tf.image.cropAndResize(any(x), boxes, any(tf.tensor1d([0, 0], 'int32')), [p.between(1, 3), p.between(1, 3)]);
    },
    dilation2d: (p) => {
      const x = p.image();
      return tf.dilation2d(any(x), any(p.fixed([2, 2, x.shape[3]!])), 1, 'same') as Tensor;
    },
  }),
  ...operators(
    'moved',
    false,
  )({
    maxPool: (p) => {
      const x = p.image();
      const of = window(p, x);
      return tf.maxPool(any(x), of.size, of.stride, poolPad(of));
    },
    'maxPool with indices': (p) => {
      const x = p.image();
      return tf.maxPoolWithArgmax(any(x), 2, 1, 'same', p.flag()).indexes as Tensor;
    },
    resizeNearest: (p) => tf.image.resizeNearestNeighbor(any(p.image()), [p.between(1, 5), p.between(1, 5)], p.flag()),
    flipLeftRight: (p) => tf.image.flipLeftRight(any(p.image())),
  }),
  ...operators('mixed')({
    softmax: (p) => tf.softmax(p.float((x) => x.rank > 0 && x.size > 0)),
    logSoftmax: (p) =>
      tf.logSoftmax(
        tf.clipByValue(
          p.float((x) => x.rank > 0 && x.size > 0),
          -50,
          50,
        ),
      ),
    batchNorm: (p) => {
      const x = tf.clipByValue(p.image(), -50, 50);
      const c = x.shape[3]!;
      return tf.batchNorm(x, any(p.fixed([c])), any(tf.add(tf.square(p.fixed([c])), 0.5)), any(p.fixed([c])), any(p.fixed([c])));
    },
    moments: (p) => {
      const x = tf.clipByValue(
        p.float((y) => y.rank > 0 && y.size > 0),
        -50,
        50,
      );
      const { mean, variance } = tf.moments(x, p.axes(x), p.flag());
      return [mean, variance];
    },
  }),
  ...operators(
    'mixed',
    false,
  )({
    logSumExp: (p) => {
      const x = tf.clipByValue(
        p.float((y) => y.rank > 0 && y.size > 0),
        -50,
        50,
      );
      return tf.logSumExp(x, p.axes(x), p.flag());
    },
    norm: (p) => {
      const x = tf.clipByValue(
        p.float((y) => y.rank > 0 && y.size > 0),
        -50,
        50,
      );
      return tf.norm(x, p.of([1, 2, Infinity] as const), p.axis(x));
    },
    localResponse: (p) => tf.localResponseNormalization(any(tf.clipByValue(p.image(), -10, 10)), p.between(1, 2), 1, 0.3, 0.6),
    fourier: (p) => {
      const x = tf.clipByValue(
        p.float((y) => y.rank === 1 && y.size > 1 && y.size < 64),
        -50,
        50,
      );
      return tf.reshape(tf.real(tf.spectral.rfft(x)), [-1]);
    },
    absolute: (p) => {
      const x = tf.clipByValue(
        p.float((y) => y.rank > 0 && y.size > 0),
        -50,
        50,
      );
      return tf.abs(tf.complex(x, tf.reverse(x, 0)));
    },
  }),
];
