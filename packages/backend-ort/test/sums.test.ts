import { describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';
import { numbers, useOrt, type Tensor } from './agree.ts';

/** Sums stay within 1e-6 of Σ|x| at every length, evaluated and compiled, in values and gradients. The reference is a sum in float64 on the host. */

const BOUND = 1e-6;
const tensor = (data: Float32Array, shape: readonly number[]): Tensor => tf.tensor(data, [...shape]);

/** The same function evaluated op by op and as one compiled graph. */
async function eachWay(
  data: Float32Array,
  shape: readonly number[],
  f: (x: Tensor) => Tensor,
  check: (y: Float32Array) => void,
): Promise<void> {
  await useOrt();
  const x = tensor(data, shape);
  const eager = tf.tidy(() => f(x));
  check(eager.dataSync() as Float32Array);
  const graph = traceGraph(tf.backend() as OrtBackend, [{ shape: [...shape], dtype: 'float32' }], ([y]) => [f(y!)], 'sums');
  const [compiled] = graph.run([x], [false]);
  check(compiled!.dataSync() as Float32Array);
  for (const t of [x, eager, compiled!]) t.dispose();
  graph.dispose();
}

/** Σ over some axes and Σ of the absolute values, in float64. */
function reference(data: Float32Array, shape: readonly number[], axes: readonly number[]): { sums: number[]; sizes: number[] } {
  const kept = shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const total = kept.reduce((a, b) => a * b, 1);
  const [sums, sizes] = [new Array<number>(total).fill(0), new Array<number>(total).fill(0)];
  data.forEach((value, i) => {
    let [rest, to, stride] = [i, 0, 1];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const at = rest % shape[axis]!;
      rest = Math.floor(rest / shape[axis]!);
      if (kept[axis] !== 1) to += at * stride;
      stride *= kept[axis]!;
    }
    sums[to]! += value;
    sizes[to]! += Math.abs(value);
  });
  return { sums, sizes };
}

const filled = (size: number, value = 0.1): Float32Array => new Float32Array(size).fill(value);
const mixed = (size: number): Float32Array => Float32Array.from(numbers(size, 7), (x, i) => x + (i % 3 === 0 ? 100 : 0.3));
const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

const shapes: [shape: number[], axes: number[]][] = [
  [[1_000_000, 2], [0]],
  [[10_000, 3], [0]],
  [[131_072, 2], [0]],
  [[5_000_000], [0]],
  [[1_000_003], [0]],
  [[999_983, 2], [0]],
  [[3, 100_003], [1]],
  [[2, 65_536, 3], [1]],
  [[4, 9973, 5], [1]],
  [
    [7, 30_011, 3, 2],
    [1, 3],
  ],
  [
    [50_000, 3, 11],
    [0, 2],
  ],
  [
    [101, 7, 97, 5],
    [0, 2],
  ],
  [[9, 1, 4099, 1], [2]],
  ...[15, 16, 17, 31, 33, 63, 65, 96, 97, 127, 128, 131, 193, 1000, 1009].flatMap((n): [number[], number[]][] => [
    [[3, n], [1]],
    [[n, 3], [0]],
    [[2, n, 3], [1]],
    [
      [n, 2, n],
      [0, 2],
    ],
  ]),
];

describe('sums and means', () => {
  for (const [shape, axes] of shapes) {
    it(`of [${shape}] over ${axes}`, async () => {
      const count = product(axes.map((axis) => shape[axis]!));
      for (const data of [filled(product(shape)), mixed(product(shape))]) {
        const { sums, sizes } = reference(data, shape, axes);
        const within = (scale: number) => (got: Float32Array) =>
          got.forEach((value, i) => expect(Math.abs(value / scale - sums[i]!)).toBeLessThanOrEqual(BOUND * sizes[i]!));
        await eachWay(data, shape, (x) => tf.sum(x, axes), within(1));
        await eachWay(data, shape, (x) => tf.mean(x, axes, true), within(1 / count));
      }
    });
  }

  it('keep infinities and NaN', async () => {
    for (const shape of [
      [40, 3],
      [3, 200],
      [1009, 3],
    ]) {
      // prettier-ignore
      const data = mixed(product(shape));
      data[product(shape) - 1] = Infinity;
      await eachWay(
        data,
        shape,
        (x) => tf.stack([tf.sum(x), tf.mean(x), tf.sum(tf.neg(x)), tf.sum(tf.sub(x, x))]),
        (y) => expect([...y]).toEqual([Infinity, Infinity, -Infinity, NaN]),
      );
    }
  });

  it('are the gradients of what is spread', async () => {
    await eachWay(
      filled(200_000),
      [100_000, 2],
      (x) => tf.grad((b: Tensor) => tf.sum(tf.mul(tf.add(x, b), x)))(tf.zeros([2])),
      (y) => y.forEach((value) => expect(Math.abs(value / 10_000 / (Math.fround(0.1) * 10) - 1)).toBeLessThan(BOUND)),
    );
  });

  it('of whole numbers wrap at 32 bits, products too', async () => {
    await useOrt();
    const x = tf.tensor1d([2 ** 31 - 1, 2 ** 31 - 1, 5], 'int32');
    expect([...tf.sum(x).dataSync()]).toEqual([3]);
    expect([...tf.prod(tf.tensor1d([65_536, 65_536, 3], 'int32')).dataSync()]).toEqual([0]);
    expect([...tf.prod(tf.tensor1d([65_537, 65_537], 'int32')).dataSync()]).toEqual([131_073]);
    expect([...tf.cumsum(x).dataSync()]).toEqual([2 ** 31 - 1, -2, 3]);
    expect([...tf.cumprod(tf.tensor1d([65_537, 65_537], 'int32')).dataSync()]).toEqual([65_537, 131_073]);
  });
});

export { eachWay, filled, mixed, BOUND };
