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

describe('what else adds up', () => {
  const within = (wanted: number) => (y: Float32Array) =>
    y.forEach((value) => expect(Math.abs(value / wanted - 1)).toBeLessThanOrEqual(BOUND));
  const tenth = Math.fround(0.1);

  for (const k of [1500, 4099, 20_000, 65_536, 1_000_003]) {
    it(`products contract ${k} elements`, async () => {
      const dot = (x: Tensor): Tensor => tf.dot(x as never, x as never);
      await eachWay(filled(k), [k], dot, within(k * tenth ** 2));
      for (const [ta, tb] of [
        [false, false],
        [true, false],
        [false, true],
        [true, true],
      ] as const) {
        // prettier-ignore
        const few = (x: Tensor): Tensor => tf.matMul(tf.reshape(x, ta ? [k, 2] : [2, k]), tf.reshape(x, tb ? [2, k] : [k, 2]), ta, tb);
        await eachWay(filled(2 * k), [2 * k], few, within(k * tenth ** 2));
      }
    });
  }

  it('products of many results, with a batch on one side', async () => {
    const k = 40_000;
    const product = (x: Tensor): Tensor =>
      tf.matMul(tf.reshape(x, [2, k, 64]), tf.slice(tf.reshape(x, [2 * k, 64]), [0, 0], [k, 64]), true, false);
    await eachWay(filled(2 * k * 64), [2 * k * 64], product, within(k * tenth ** 2));
  });

  it('products agree in every element with float64', async () => {
    const [m, k, n] = [3, 5001, 4];
    const data = Float32Array.from(numbers((m + n) * k, 3));
    const f = (x: Tensor): Tensor =>
      tf.matMul(tf.reshape(tf.slice(x, 0, m * k), [m, k]), tf.reshape(tf.slice(x, m * k, n * k), [n, k]), false, true);
    await eachWay(data, [data.length], f, (y) => {
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let [sum, size] = [0, 0];
          for (let at = 0; at < k; at++) {
            const term = data[i * k + at]! * data[(m + j) * k + at]!;
            sum += term;
            size += Math.abs(term);
          }
          expect(Math.abs(y[i * n + j]! - sum)).toBeLessThanOrEqual(BOUND * size);
        }
      }
    });
  });

  it('softmax and its logarithm over long rows', async () => {
    for (const n of [30_000, 200_000]) {
      const data = Float32Array.from({ length: n }, (_, i) => 3 * Math.sin(i));
      const total = data.reduce((sum, x) => sum + Math.exp(x), 0);
      await eachWay(data, [1, n], (x) => tf.softmax(x), (y) => y.forEach((p, i) => i % 997 === 0 && expect(Math.abs((p * total) / Math.exp(data[i]!) - 1)).toBeLessThan(2e-6))); // prettier-ignore
      await eachWay(data, [1, n], (x) => tf.logSoftmax(x), (y) => y.forEach((p, i) => i % 997 === 0 && expect(Math.abs(p - (data[i]! - Math.log(total)))).toBeLessThan(2e-6))); // prettier-ignore
      await eachWay(data, [1, n], (x) => tf.logSumExp(x), within(Math.log(total)));
    }
  });

  it('running sums', async () => {
    const n = 1_000_000;
    for (const reverse of [false, true]) await eachWay(filled(n), [n], (x) => tf.slice(tf.cumsum(x, 0, false, reverse), reverse ? 0 : n - 1, 1), within(n * tenth)); // prettier-ignore
  });

  it('means over windows, whole and in part', async () => {
    await eachWay(filled(512 * 512 * 2), [1, 512, 512, 2], (x) => tf.avgPool(x as never, 512, 1, 'valid'), within(tenth));
    await eachWay(filled(300 * 301 * 2), [1, 300, 301, 2], (x) => tf.avgPool(x as never, [290, 280], 4, 'same'), within(tenth));
    await eachWay(filled(20 * 30 * 40 * 2), [1, 20, 30, 40, 2], (x) => tf.avgPool3d(x as never, [20, 30, 40], 1, 'valid'), within(tenth));
  });

  it('many rows that fall on one', async () => {
    const n = 200_000;
    const ids = new Int32Array(n);
    await eachWay(filled(n), [n, 1], (x) => tf.unsortedSegmentSum(x, tf.tensor1d(ids, 'int32'), 1), within(n * tenth));
    await eachWay(filled(n), [n], (x) => tf.scatterND(tf.tensor2d(ids, [n, 1], 'int32'), x, [1]), within(n * tenth));
    await eachWay(filled(n), [n], (x) => tf.bincount(tf.tensor1d(ids, 'int32'), x as never, 1), within(n * tenth));
    const gathered = (x: Tensor): Tensor =>
      tf.grad((w: Tensor) => tf.sum(tf.mul(tf.gather(w, tf.tensor1d(ids, 'int32')), x)))(tf.ones([1]));
    await eachWay(filled(n), [n], gathered, within(n * tenth));
  });

  it('moments, norms and the gradient of a bias', async () => {
    const n = 500_000;
    const data = Float32Array.from({ length: n }, (_, i) => (i % 2 === 0 ? 1.5 : 0.5));
    await eachWay(data, [n], (x) => tf.moments(x).variance as Tensor, within(0.25));
    await eachWay(data, [n], (x) => tf.norm(x), within(Math.sqrt(n * 1.25)));
    await eachWay(data, [n], (x) => tf.euclideanNorm(x), within(Math.sqrt(n * 1.25)));
    const bias = (x: Tensor): Tensor => tf.grad((b: Tensor) => tf.sum(tf.square(tf.add(tf.reshape(x, [n / 2, 2]), b))))(tf.zeros([2]));
    await eachWay(filled(n), [n], bias, within(n * tenth));
  });

  it('layer norm over a long row', async () => {
    const n = 200_000;
    const data = Float32Array.from(numbers(n, 5), (x) => x + 3);
    const mean = data.reduce((sum, x) => sum + x, 0) / n;
    const deviation = Math.sqrt(data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / n);
    const f = (x: Tensor): Tensor => (tf.engine().runKernel('Standardize', { x }, { eps: 0 }) as Tensor[])[0]!;
    await eachWay(data, [1, n], f, (y) => y.forEach((value, i) => i % 997 === 0 && expect(Math.abs(value - (data[i]! - mean) / deviation)).toBeLessThan(3e-6))); // prettier-ignore
  });
});
