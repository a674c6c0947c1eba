import { tf } from '../../src/index.ts';
import { apart, between, normal, values, type Case } from './draw.ts';

/** Pooling, dilation, resizing, normalization. */
export const neighbourhoods: Case[] = [
  ...(['same', 'valid', 1] as const).flatMap((pad) =>
    [
      [2, 2],
      [3, 1],
      [3, 2],
    ].flatMap(([size, stride]): Case[] => {
      const about = `${typeof pad === 'number' ? `padding ${pad}` : pad}, window ${size}, stride ${stride}`;
      return [
        { kernel: 'AvgPool', about, f: (x) => tf.avgPool(x as never, size!, stride!, pad), xs: apart([1, 4, 5, 2]) },
        { kernel: 'MaxPool', about, f: (x) => tf.maxPool(x as never, size!, stride!, pad), xs: apart([1, 4, 5, 2]) },
        { kernel: 'AvgPool3D', about, f: (x) => tf.avgPool3d(x as never, size!, stride!, pad), xs: apart([1, 3, 3, 4, 1]) },
        { kernel: 'MaxPool3D', about, f: (x) => tf.maxPool3d(x as never, size!, stride!, pad), xs: apart([1, 3, 3, 4, 1]) },
      ];
    }),
  ),
  {
    kernel: 'MaxPool',
    about: 'ties',
    f: (x) => tf.maxPool(x as never, 2, 1, 'same'),
    xs: values([
      [5, 5, 1, 0, 2, 2],
      [1, 2, 3, 1],
    ]),
    kink: true,
  },
  { kernel: 'MaxPool', about: 'rounding up', f: (x) => tf.maxPool(x as never, 2, 2, 0, 'ceil'), xs: apart([1, 4, 5, 1]) },
  { kernel: 'AvgPool', about: 'rounding up', f: (x) => tf.avgPool(x as never, 2, 2, 0, 'ceil'), xs: apart([1, 4, 5, 1]) },
  {
    kernel: 'MaxPool3D',
    about: 'ties',
    f: (x) => tf.maxPool3d(x as never, 2, 2, 'valid'),
    xs: values([
      [5, 5, 1, 0, 2, 2, 1, 1],
      [1, 2, 2, 2, 1],
    ]),
    kink: true,
  },
  ...(['same', 'valid'] as const).flatMap((pad) =>
    [1, 2].map((rate): Case => ({
      kernel: 'Dilation2D',
      about: `${pad}, rate ${rate}`,
      f: (x, w) => tf.dilation2d(x as never, w as never, 1, pad, rate),
      xs: () => [...apart([1, 4, 5, 2])(), ...between(-0.05, 0.05, [2, 2, 2])()],
    })),
  ),
  ...[
    [false, false],
    [true, false],
    [false, true],
  ].flatMap(([align, half]) =>
    [
      [3, 7],
      [6, 2],
      [1, 4],
    ].flatMap(([h, w]): Case[] => [
      {
        kernel: 'ResizeBilinear',
        about: `to [${h}, ${w}]${align ? ', corners aligned' : ''}${half ? ', half pixels' : ''}`,
        f: (x) => tf.image.resizeBilinear(x as never, [h!, w!], align, half),
        xs: normal([2, 4, 3, 2]),
      },
      {
        kernel: 'ResizeNearestNeighbor',
        about: `to [${h}, ${w}]${align ? ', corners aligned' : ''}${half ? ', half pixels' : ''}`,
        f: (x) => tf.image.resizeNearestNeighbor(x as never, [h!, w!], align, half),
        xs: normal([2, 4, 3, 2]),
      },
    ]),
  ),
  { kernel: 'LRN', f: (x) => tf.localResponseNormalization(x as never, 1, 1, 0.3, 0.6), xs: normal([1, 2, 2, 4]) },
  {
    kernel: 'FusedBatchNorm',
    f: (x, mean, variance, offset, scale) =>
      tf.batchNorm(x!, mean as never, tf.add(tf.square(variance!), 1) as never, offset as never, scale as never, 0.01),
    xs: normal([2, 2, 3, 2], [2], [2], [2], [2]),
  },
  {
    kernel: 'FusedBatchNorm',
    about: 'moments of the shape of x',
    f: (x, mean, variance, offset, scale) =>
      tf.batchNorm(x!, mean as never, tf.add(tf.square(variance!), 1) as never, offset as never, scale as never, 0.01),
    xs: normal([2, 3], [2, 3], [2, 3], [2, 3], [2, 3]),
  },
];
