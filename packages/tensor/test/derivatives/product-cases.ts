import { tf } from '../../src/index.ts';
import { kernel, normal, type Case } from './draw.ts';

/** Products and convolutions. */
export const products: Case[] = [
  ...[false, true].flatMap((ta) =>
    [false, true].flatMap((tb) =>
      [
        [[], []],
        [[2], [2]],
        [[2], []],
        [[2, 3], [3]],
      ].map(([left, right]): Case => ({
        kernel: 'BatchMatMul',
        about: `[${left}] with [${right}]${ta ? ', left transposed' : ''}${tb ? ', right transposed' : ''}`,
        f: (a, b) => tf.matMul(a!, b!, ta, tb),
        xs: normal([...left!, ...(ta ? [4, 2] : [2, 4])], [...right!, ...(tb ? [3, 4] : [4, 3])]),
      })),
    ),
  ),
  ...(['same', 'valid', 1] as const).flatMap((pad) =>
    [
      [1, 1],
      [2, 1],
      [1, 2],
    ].flatMap(([stride, dilation]): Case[] => {
      const about = `${typeof pad === 'number' ? `padding ${pad}` : pad}, stride ${stride}, dilation ${dilation}`;
      const transposed = (taps: number): number => (pad === 'same' ? 3 * stride! : 2 * stride! + taps - (pad === 1 ? 2 : 0));
      return [
        {
          kernel: 'Conv2D',
          about,
          f: (x, w) => tf.conv2d(x as never, w as never, stride!, pad, 'NHWC', dilation!),
          xs: normal([1, 5, 6, 2], [2, 3, 2, 2]),
        },
        {
          kernel: 'DepthwiseConv2dNative',
          about,
          f: (x, w) => tf.depthwiseConv2d(x as never, w as never, stride!, pad, 'NHWC', dilation!),
          xs: normal([1, 5, 6, 2], [2, 3, 2, 2]),
        },
        ...(typeof pad === 'number' || dilation !== 1
          ? []
          : [{ kernel: 'Conv3D', about, f: (x, w) => tf.conv3d(x as never, w as never, stride!, pad, 'NDHWC', [dilation!, dilation!, dilation!]), xs: normal([1, 3, 3, 4, 2], [2, 2, 3, 2, 1]) } as Case]), // prettier-ignore
        ...(dilation !== 1
          ? []
          : [
              { kernel: 'Conv2DBackpropInput', about, f: (y, w) => tf.conv2dTranspose(y as never, w as never, [1, transposed(2), transposed(2), 2], stride!, pad), xs: normal([1, 3, 3, 1], [2, 2, 2, 1]) } as Case, // prettier-ignore
            ]),
      ];
    }),
  ),
  {
    kernel: 'Conv3DBackpropInputV2',
    f: (y, w) => tf.conv3dTranspose(y as never, w as never, [1, 4, 4, 4, 2], 2, 'same'),
    xs: normal([1, 2, 2, 2, 1], [2, 2, 3, 2, 1]),
  },
  {
    kernel: 'Conv2DBackpropFilter',
    f: (x, dy) =>
      kernel(
        'Conv2DBackpropFilter',
        { x: x!, dy: dy! },
        { strides: 1, pad: 'same', dataFormat: 'NHWC', dimRoundingMode: undefined, filterShape: [2, 3, 2, 1] },
      ),
    xs: normal([1, 3, 4, 2], [1, 3, 4, 1]),
  },
  {
    kernel: 'Conv3DBackpropFilterV2',
    f: (x, dy) => kernel('Conv3DBackpropFilterV2', { x: x!, dy: dy! }, { strides: [1, 1, 1], pad: 'same', filterShape: [2, 2, 2, 2, 1] }),
    xs: normal([1, 2, 2, 3, 2], [1, 2, 2, 3, 1]),
  },
  ...(['Input', 'Filter'] as const).map((side): Case => ({
    kernel: `DepthwiseConv2dNativeBackprop${side}`,
    f: (a, b) =>
      side === 'Input'
        ? kernel(
            'DepthwiseConv2dNativeBackpropInput',
            { dy: a!, filter: b! },
            { strides: 1, pad: 'same', dilations: [1, 1], dimRoundingMode: undefined, inputShape: [1, 3, 4, 2] },
          )
        : kernel(
            'DepthwiseConv2dNativeBackpropFilter',
            { dy: a!, x: b! },
            { strides: 1, pad: 'same', dilations: [1, 1], dimRoundingMode: undefined, filterShape: [2, 3, 2, 1] },
          ),
    xs: normal([1, 3, 4, 2], side === 'Input' ? [2, 3, 2, 1] : [1, 3, 4, 2]),
  })),
];
