import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';
import { expectAgreement, expectValueAndGradients, numbers, sample, useOrt, type Tensor } from './agree.ts';

type Spread = [number, number];
type Settings = { strides?: Spread | number; pad?: 'same' | 'valid' | number; dilations?: Spread | number };

const last =
  ({ strides = 1, pad = 'same', dilations = 1 }: Settings) =>
  (x: Tensor, w: Tensor): Tensor =>
    tf.conv2d(x as never, w as never, strides, pad, 'NHWC', dilations);

/** The same by ONNX Runtime's own convolutions, which have channels first. */
const first =
  ({ strides = 1, pad = 'same', dilations = 1 }: Settings) =>
  (x: Tensor, w: Tensor): Tensor =>
    tf.transpose(tf.conv2d(tf.transpose(x, [0, 3, 1, 2]) as never, w as never, strides, pad, 'NCHW', dilations), [0, 2, 3, 1]);

/** Value and, if asked for, both gradients of Σ y dy. */
function all(f: (x: Tensor, w: Tensor) => Tensor, x: Tensor, w: Tensor, gradients = true): Tensor[] {
  const y = f(x, w);
  if (!gradients) return [y];
  const dy = tf.tensor(numbers(y.size, 9), y.shape);
  return [y, ...tf.grads((a: Tensor, b: Tensor) => tf.sum(tf.mul(f(a, b), dy)))([x, w])];
}

async function expectSame(shape: number[], filter: number[], settings: Settings): Promise<void> {
  await useOrt();
  tf.tidy(() => {
    const [x, w] = [tf.tensor(numbers(shape.reduce((a, b) => a * b), 1), shape), tf.tensor(numbers(filter.reduce((a, b) => a * b), 2), filter)]; // prettier-ignore
    const [wanted, got] = [first, last].map((f) => all(f(settings), x, w, settings.dilations === undefined));
    wanted!.forEach((want, i) => {
      expect(got![i]!.shape).toEqual(want.shape);
      const [a, b] = [want, got![i]!].map((values) => Array.from(values.dataSync())) as [number[], number[]];
      const scale = a.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const error = a.reduce((most, value, at) => Math.max(most, Math.abs(value - b[at]!)), 0);
      expect(error).toBeLessThan(3e-6 * scale);
    });
  });
}

describe('convolution by products over patches', () => {
  it('agrees with cpu in value and both gradients over sizes, strides, dilations and padding', () =>
    fc.assert(
      fc.asyncProperty(
        fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3 })),
        fc.constantFrom<Spread>([1, 1], [2, 1], [2, 3]),
        fc.constantFrom<Spread>([1, 1], [1, 2]),
        fc.constantFrom<'same' | 'valid'>('same', 'valid'),
        fc.integer({ min: 1, max: 3 }),
        async ([height, width], strides, dilations, pad, channels) => {
          const args = [sample([2, 7, 6, channels], 1), sample([height, width, channels, 2], 2)];
          // TensorFlow.js's own gradient refuses dilation.
          if (dilations[1] === 1) await expectValueAndGradients(last({ strides, pad }), args);
          else await expectAgreement(last({ pad, dilations }), args);
        },
      ),
      { numRuns: 20 },
    ));

  // Patches are made 12 MiB at a time: first some images, then some positions of one. Those of dy are as large where there are as many outputs as inputs.
  it.each<[string, number[], number[], Settings]>([
    ['in pieces of uneven numbers of images', [7, 36, 32, 64], [3, 3, 64, 64], {}],
    ['in pieces of one image', [2, 90, 81, 64], [3, 3, 64, 8], {}],
    ['with a stride', [3, 107, 70, 64], [3, 5, 64, 8], { strides: [1, 2], pad: 'valid' }],
    ['with dilation', [2, 84, 70, 64], [3, 3, 64, 8], { dilations: 3 }],
    ['of few channels and a long sum', [40, 32, 32, 1], [3, 3, 1, 2], {}],
    ['of one pixel', [2, 9, 8, 20], [1, 1, 20, 30], {}],
    ['of windows beside each other', [2, 12, 8, 3], [4, 4, 3, 6], { strides: 4, pad: 'valid' }],
  ])('is the same as with channels first, %s', async (_, x, filter, settings) => expectSame(x, filter, settings));

  it('reads a filter with the outputs first', async () => {
    const f = (x: Tensor, w: Tensor): Tensor => last({})(x, tf.transpose(w, [2, 3, 1, 0]));
    await expectValueAndGradients(f, [sample([2, 5, 6, 3], 3), sample([4, 3, 3, 2], 4)]);
  });

  it('lets a NaN reach only the patches that hold it', async () => {
    await useOrt();
    tf.tidy(() => {
      const x = tf.tensor(numbers(36, 5).map((value, i) => (i === 7 ? NaN : value)), [1, 6, 6, 1]); // prettier-ignore
      const y = last({ pad: 'valid' })(x, tf.ones([2, 2, 1, 1])).dataSync();
      expect(Array.from(y, Number.isNaN).flatMap((bad, i) => (bad ? [i] : []))).toEqual([0, 1, 5, 6]);
    });
  });

  it('is as exact as a filter that is a constant of the graph', async () => {
    await useOrt();
    const [x, w] = [tf.tensor(numbers(2 * 8 * 7 * 16, 6), [2, 8, 7, 16]), tf.tensor(numbers(9 * 16 * 32, 7), [3, 3, 16, 32])];
    const f = (v: Tensor, filter: Tensor): Tensor[] => all(last({}), v, filter).slice(0, 2);
    const fed = traceGraph(tf.backend() as OrtBackend, [x, w], ([v, filter]) => f(v!, filter!), 'fed');
    const builtIn = traceGraph(tf.backend() as OrtBackend, [x], ([v]) => f(v!, w), 'built in');
    tf.tidy(() => {
      const [wanted, got] = [fed.run([x, w], [false, false]), builtIn.run([x], [false])].map((ys) => ys.map((y) => y.dataSync()));
      wanted!.forEach((values, i) => values.forEach((value, at) => expect(got![i]![at]).toBeCloseTo(value, 4)));
    });
    fed.dispose();
    builtIn.dispose();
    tf.dispose([x, w]);
  });
});
