import { tf } from '../src/tf.ts';
import type { Call, Tensor } from './table.ts';

/** Products, convolutions, pools, images and normalization: the calls of the sweep that see more than one axis at once. */

type Image = tf.Tensor4D;
type Volume = tf.Tensor5D;
const kernel = (name: string, inputs: Record<string, Tensor>, attributes: Record<string, unknown> = {}): Tensor =>
  tf.engine().runKernel(name, inputs as never, attributes as never) as Tensor;
const call = (name: string, operands: string, f: (...xs: never[]) => Tensor | readonly Tensor[]): Call => ({
  kernel: name,
  operands,
  f: f as Call['f'],
});

const products: Call[] = [
  call('BatchMatMul', 'B I J, B J K', (x: Tensor, y: Tensor) => tf.matMul(x, y)),
  call('BatchMatMul, turned', 'B J I, K J', (x: Tensor, y: Tensor) => tf.matMul(x, y, true, true)),
  call('BatchMatMul of vectors', 'I, I', (x: tf.Tensor1D, y: tf.Tensor1D) => tf.dot(x, y)),
  call('_FusedMatMul', 'I J, J K, K', (a: tf.Tensor2D, b: tf.Tensor2D, bias: Tensor) => tf.fused.matMul({ a, b, bias, activation: 'relu' })), // prettier-ignore
  call('Einsum', 'B I J, J K', (x: Tensor, y: Tensor) => tf.einsum('bij,jk->bki', x, y)),
  call('OuterProduct', 'I, J', (x: tf.Tensor1D, y: tf.Tensor1D) => tf.outerProduct(x, y)),
];

const convolutions: Call[] = [
  call('Conv2D', 'B H W C, 3 2 C O', (x: Image, w: Image) => tf.conv2d(x, w, 1, 'same')),
  call('Conv2D with strides', 'B H W C, 3 2 C O', (x: Image, w: Image) => tf.conv2d(x, w, [2, 1], 'valid')),
  call('Conv2D with dilations', 'B H W C, 3 2 C O', (x: Image, w: Image) => tf.conv2d(x, w, 1, 1, 'NHWC', [1, 2], 'floor')),
  call('Conv2D, channels first', 'B C H W, 3 2 C O', (x: Image, w: Image) => tf.conv2d(x, w, 1, 'same', 'NCHW')),
  call('Conv1D', 'B W C, 2 C O', (x: tf.Tensor3D, w: tf.Tensor3D) => tf.conv1d(x, w, 1, 'same')),
  call('Conv2DBackpropInput', 'B H W O, 3 2 C O', (dy: Image, w: Image) => tf.conv2dTranspose(dy, w, [dy.shape[0], dy.shape[1], dy.shape[2], w.shape[2]], 1, 'same')), // prettier-ignore
  call('Conv2DBackpropFilter', 'B H W C, B H W O', (x: Image, dy: Image) =>
    kernel('Conv2DBackpropFilter', { x, dy }, { strides: 1, pad: 'same', dataFormat: 'NHWC', dimRoundingMode: undefined, filterShape: [3, 2, x.shape[3], dy.shape[3]] })), // prettier-ignore
  call('Conv3D', 'B D H W C, 2 2 2 C O', (x: Volume, w: Volume) => tf.conv3d(x, w, 1, 'same')),
  call('Conv3DBackpropInputV2', 'B D H W O, 2 2 2 C O', (dy: Volume, w: Volume) => tf.conv3dTranspose(dy, w, [...dy.shape.slice(0, 4), w.shape[3]] as never, 1, 'same')), // prettier-ignore
  call('Conv3DBackpropFilterV2', 'B D H W C, B D H W O', (x: Volume, dy: Volume) =>
    kernel('Conv3DBackpropFilterV2', { x, dy }, { strides: 1, pad: 'same', filterShape: [2, 2, 2, x.shape[4], dy.shape[4]] }),
  ),
  call('DepthwiseConv2dNative', 'B H W C, 3 2 C 2', (x: Image, w: Image) => tf.depthwiseConv2d(x, w, 1, 'same')),
  call('DepthwiseConv2dNativeBackpropInput', 'B H W 6, 3 2 3 2', (dy: Image, w: Image) =>
    kernel('DepthwiseConv2dNativeBackpropInput', { dy, filter: w }, { strides: 1, pad: 'same', dilations: 1, dimRoundingMode: undefined, inputShape: [...dy.shape.slice(0, 3), 3] })), // prettier-ignore
  call('DepthwiseConv2dNativeBackpropFilter', 'B H W 3, B H W 6', (x: Image, dy: Image) =>
    kernel('DepthwiseConv2dNativeBackpropFilter', { x, dy }, { strides: 1, pad: 'same', dilations: 1, dimRoundingMode: undefined, filterShape: [3, 2, 3, 2] })), // prettier-ignore
  call('SeparableConv2D', 'B H W C, 3 2 C 2, 1 1 6 O', (x: Image, d: Image, p: Image) => tf.separableConv2d(x, d, p, 1, 'same')),
  call('FusedConv2D', 'B H W C, 3 2 C O, O', (x: Image, filter: Image, bias: Tensor) => tf.fused.conv2d({ x, filter, bias, strides: 1, pad: 'same', activation: 'relu' })), // prettier-ignore
  call('FusedDepthwiseConv2D', 'B H W C, 3 2 C 1, C', (x: Image, filter: Image, bias: Tensor) => tf.fused.depthwiseConv2d({ x, filter, bias, strides: 1, pad: 'same', activation: 'relu' })), // prettier-ignore
  call('Dilation2D', 'B H W C, 2 2 C', (x: Image, w: tf.Tensor3D) => tf.dilation2d(x, w, 1, 'same')),
  call('Dilation2DBackpropFilter', 'B H W C float32, 2 2 C float32, B H W C float32', (x: Tensor, filter: Tensor, dy: Tensor) => kernel('Dilation2DBackpropFilter', { x, filter, dy }, { strides: 1, pad: 'same', dilations: 1 })), // prettier-ignore
  call('Dilation2DBackpropInput', 'B H W C float32, 2 2 C float32, B H W C float32', (x: Tensor, filter: Tensor, dy: Tensor) => kernel('Dilation2DBackpropInput', { x, filter, dy }, { strides: 1, pad: 'same', dilations: 1 })), // prettier-ignore
];

const pools: Call[] = [
  call('AvgPool', 'B H W C', (x: Image) => tf.avgPool(x, [3, 2], 2, 'same')),
  call('AvgPool3D', 'B D H W C', (x: Volume) => tf.avgPool3d(x, 2, 1, 'valid')),
  call('AvgPoolGrad', 'B H W C, B H W C', (dy: Tensor, input: Tensor) => kernel('AvgPoolGrad', { dy, input }, { filterSize: 3, strides: 1, pad: 'same' })), // prettier-ignore
  call('AvgPool3DGrad', 'B D H W C, B D H W C', (dy: Tensor, input: Tensor) => kernel('AvgPool3DGrad', { dy, input }, { filterSize: 3, strides: 1, pad: 'same' })), // prettier-ignore
  call('MaxPool', 'B H W C', (x: Image) => tf.maxPool(x, [3, 2], 2, 'same')),
  call('MaxPool3D', 'B D H W C', (x: Volume) => tf.maxPool3d(x, 2, 1, 'valid')),
  call('MaxPoolGrad', 'B H W C, B H W C', (dy: Tensor, input: Tensor) => kernel('MaxPoolGrad', { dy, input, output: tf.maxPool(input as Image, 3, 1, 'same') }, { filterSize: 3, strides: 1, pad: 'same' })), // prettier-ignore
  call('MaxPool3DGrad', 'B D H W C, B D H W C', (dy: Tensor, input: Tensor) => kernel('MaxPool3DGrad', { dy, input, output: tf.maxPool3d(input as Volume, 2, 1, 'same') }, { filterSize: 2, strides: 1, pad: 'same' })), // prettier-ignore
  call('MaxPoolWithArgmax', 'B H W C', (x: Image) => Object.values(tf.maxPoolWithArgmax(x, 2, 2, 'valid'))),
];

const images: Call[] = [
  call('CropAndResize', 'B H W C, N 4 float32, N <2', (x: Image, boxes: tf.Tensor2D, i: tf.Tensor1D) => tf.image.cropAndResize(x, boxes, i, [3, 2])), // prettier-ignore
  call('FlipLeftRight', 'B H W C', (x: Image) => tf.image.flipLeftRight(x)),
  call('ResizeBilinear', 'B H W C', (x: Image) => tf.image.resizeBilinear(x, [3, 9])),
  call('ResizeNearestNeighbor', 'B H W C', (x: Image) => tf.image.resizeNearestNeighbor(x, [3, 9])),
  call('ResizeBilinearGrad', 'B H W C float32, B 3 9 C float32', (images: Tensor, dy: Tensor) => kernel('ResizeBilinearGrad', { images, dy }, { alignCorners: true })), // prettier-ignore
  call('ResizeNearestNeighborGrad', 'B H W C float32, B 3 9 C float32', (images: Tensor, dy: Tensor) => kernel('ResizeNearestNeighborGrad', { images, dy }, { alignCorners: true })), // prettier-ignore
  call('RotateWithOffset', 'B H W C', (x: Image) => tf.image.rotateWithOffset(x, 0.4, 0.5, 0.3)),
  call('Transform', 'B H W C', (x: Image) =>
    tf.image.transform(x, tf.tensor2d([1, 0.1, 0, 0.2, 0.9, 0, 0, 0], [1, 8]), 'bilinear', 'nearest'),
  ),
  call('RGBToGrayscale', 'B H W 3', (x: Image) => tf.image.rgbToGrayscale(x)),
];

const norms: Call[] = [
  call('FusedBatchNorm', 'B H C, C, C, C, C', (x: Tensor, m: tf.Tensor1D, v: tf.Tensor1D, o: tf.Tensor1D, s: tf.Tensor1D) => tf.batchNorm(x, m, tf.abs(v), o, s, 0.5)), // prettier-ignore
  call('LRN', 'B H W C', (x: Image) => tf.localResponseNormalization(x, 2)),
  call('LRNGrad', 'B H W C float32, B H W C float32, B H W C float32', (x: Tensor, y: Tensor, dy: Tensor) => kernel('LRNGrad', { x, y, dy }, { depthRadius: 2, bias: 1, alpha: 1, beta: 0.5 })), // prettier-ignore
];

const complex = (f: (z: Tensor) => Tensor) => (x: Tensor, y: Tensor) => {
  const z = f(tf.complex(x, y));
  return [tf.real(z), tf.imag(z)];
};
const complexes: Call[] = [
  call(
    'Complex',
    'B N, B N',
    complex((z) => z.clone()),
  ),
  call('Real', 'B N, B N', (x: Tensor, y: Tensor) => tf.real(tf.complex(x, y))),
  call('Imag', 'B N, B N', (x: Tensor, y: Tensor) => tf.imag(tf.complex(x, y))),
  call('ComplexAbs', 'B N, B N', (x: Tensor, y: Tensor) => tf.abs(tf.complex(x, y))),
  call(
    'FFT',
    'B N, B N',
    complex((z) => tf.spectral.fft(z)),
  ),
  call(
    'IFFT',
    'B N, B N',
    complex((z) => tf.spectral.ifft(z)),
  ),
  call('RFFT', 'B N', (x: Tensor) => {
    const z = tf.spectral.rfft(x);
    return [tf.real(z), tf.imag(z)];
  }),
  call(
    'Multiply, complex',
    'B N, B N',
    complex((z) => tf.mul(z, z)),
  ),
];

export const shaped: Call[] = [...products, ...convolutions, ...pools, ...images, ...norms, ...complexes];
