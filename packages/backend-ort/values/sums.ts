import { tf } from '../src/tf.ts';
import type { Argument, Tensor } from './evaluate.ts';
import { between } from './floats.ts';
import { ofTerms, type Reference } from './references.ts';

/** Kernels that add up, and the terms that they add. The unit of an error is one ulp of the sum of the absolute values of the terms. */
export interface Summing {
  kernel: string;
  /** What is summed. */
  about: string;
  f: (...xs: Tensor[]) => Tensor;
  args: Argument[];
  reference: (...data: Float32Array[]) => Reference | Promise<Reference>;
  /** Largest error in ulp. */
  bound: number;
  /** Too long for a test. */
  long?: true;
  reason?: string;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
/** Numbers between -1 and 1, or between 0 and 1, where errors add up instead of cancelling. */
export const signed = (shape: number[], seed = 1): Argument => ({ data: between(-1, 1, sizeOf(shape), seed), shape });
export const positive = (shape: number[], seed = 1): Argument => ({ data: between(0, 1, sizeOf(shape), seed), shape });
const repeated = (value: number, shape: number[]): Argument => ({ data: new Float32Array(sizeOf(shape)).fill(value), shape });
const any = (x: unknown): never => x as never;

/** The bound of a sum of n products that ONNX Runtime adds one after the other in float32. Rounding errors add up like a random walk. */
export const oneAfterTheOther = (n: number): Pick<Summing, 'bound' | 'reason'> => ({
  bound: Math.ceil(2 + Math.sqrt(n) / 2),
  reason: `${n.toLocaleString('en')} products are added one after the other in float32; the bound is 2 + √n/2`,
});

const row = (x: Float32Array): Reference => ofTerms(1, (add) => x.forEach((value) => add(0, value)));
const columns = (x: Float32Array): Reference => ofTerms(2, (add) => x.forEach((value, i) => add(i % 2, value)));
const divided = ({ exact, scale }: Reference, by: number): Reference => ({
  exact: exact.map((v) => v / by),
  scale: scale.map((v) => v / by),
});

const folds: Summing[] = [
  { kernel: 'Sum', about: '1,000,000 random numbers', f: (x) => tf.sum(x), args: [positive([1_000_000])], reference: row, bound: 1 },
  {
    kernel: 'Sum',
    about: '5,000,000 times 0.1',
    f: (x) => tf.sum(x),
    args: [repeated(0.1, [5_000_000])],
    reference: row,
    bound: 1,
    long: true,
  },
  { kernel: 'Sum', about: 'two columns of 100,003', f: (x) => tf.sum(x, 0), args: [positive([100_003, 2])], reference: columns, bound: 1 },
  {
    kernel: 'Mean',
    about: 'two columns of 100,003',
    f: (x) => tf.mean(x, 0),
    args: [positive([100_003, 2])],
    reference: (x) => divided(columns(x), 100_003),
    bound: 1,
  },
  {
    kernel: 'Mean',
    about: '1,000,000 times 0.1',
    f: (x) => tf.mean(x),
    args: [repeated(0.1, [1000, 1000])],
    reference: (x) => divided(row(x), 1e6),
    bound: 1,
  },
  {
    kernel: 'Cumsum',
    about: '100,000 random numbers',
    f: (x) => tf.cumsum(x),
    args: [positive([100_000])],
    reference: (x) => {
      let sum = 0;
      const exact = Float64Array.from(x, (value) => (sum += value));
      return { exact, scale: exact };
    },
    bound: 1,
  },
  {
    kernel: 'Prod',
    about: '30 factors',
    f: (x) => tf.prod(x),
    args: [{ data: between(0.5, 2, 30), shape: [30] }],
    reference: (x) => running(x, true),
    bound: 15,
    reason: 'one rounding per factor',
  },
  {
    kernel: 'Cumprod',
    about: '30 factors',
    f: (x) => tf.cumprod(x),
    args: [{ data: between(0.5, 2, 30), shape: [30] }],
    reference: (x) => running(x, false),
    bound: 15,
    reason: 'one rounding per factor',
  },
  {
    kernel: 'UnsortedSegmentSum',
    about: '50,000 numbers in 7 segments',
    f: (x) =>
      tf.unsortedSegmentSum(
        x,
        tf.tidy(() =>
          tf.tensor1d(
            Array.from({ length: 50_000 }, (_, i) => (i * i) % 7),
            'int32',
          ),
        ) as never,
        7,
      ),
    args: [positive([50_000])],
    reference: (x) => ofTerms(7, (add) => x.forEach((value, i) => add((i * i) % 7, value))),
    bound: 1,
  },
  {
    kernel: 'ScatterNd',
    about: '5000 numbers to 3 places',
    f: (x) =>
      tf.scatterND(
        tf.tensor(
          Array.from({ length: 5000 }, (_, i) => i % 3),
          [5000, 1],
          'int32',
        ),
        x,
        [3],
      ),
    args: [positive([5000])],
    reference: (x) => ofTerms(3, (add) => x.forEach((value, i) => add(i % 3, value))),
    bound: 1,
  },
  {
    kernel: 'DenseBincount',
    about: '5000 weights in 3 bins',
    f: (x) =>
      tf.denseBincount(
        any(
          tf.tensor1d(
            Array.from({ length: 5000 }, (_, i) => i % 3),
            'int32',
          ),
        ),
        any(x),
        3,
      ),
    args: [positive([5000])],
    reference: (x) => ofTerms(3, (add) => x.forEach((value, i) => add(i % 3, value))),
    bound: 1,
  },
];

function running(x: Float32Array, last: boolean): Reference {
  let product = 1;
  const all = Float64Array.from(x, (value) => (product *= value));
  const exact = last ? all.slice(-1) : all;
  return { exact, scale: exact.map(Math.abs) };
}

/** [m, k] times [k, n]. */
const matrices = (m: number, k: number, n: number, more: Partial<Summing> = {}): Summing => ({
  kernel: 'BatchMatMul',
  about: `${m} × ${k.toLocaleString('en')} × ${n}`,
  f: (a, b) => tf.matMul(a, b),
  args: [positive([m, k], 1), positive([k, n], 2)],
  reference: (a, b) => productOf(m, k, n, a!, b!),
  ...(isInBlocks(m, k, n) ? { bound: 4 } : oneAfterTheOther(k)),
  ...more,
});

/** Long products are summed in blocks (`src/kernels/matmul.ts`). */
const isInBlocks = (m: number, k: number, n: number): boolean => m * n < 4096 && k > 1024;

const productOf = (m: number, k: number, n: number, a: Float32Array, b: Float32Array): Reference =>
  ofTerms(m * n, (add) => {
    for (let i = 0; i < m; i++) for (let l = 0; l < k; l++) for (let j = 0; j < n; j++) add(i * n + j, a[i * k + l]! * b[l * n + j]!);
  });

const products: Summing[] = [
  matrices(3, 7, 5),
  matrices(3, 1024, 5),
  matrices(3, 1025, 5),
  matrices(2, 100_000, 2),
  matrices(64, 1000, 64),
  matrices(64, 16_384, 64, { long: true }),
  {
    kernel: '_FusedMatMul',
    about: '3 × 200 × 5, plus a row, relu',
    f: (a, b, bias) => tf.fused.matMul({ a: any(a), b: any(b), bias, activation: 'relu' }),
    args: [positive([3, 200], 1), positive([200, 5], 2), positive([5], 3)],
    reference: (a, b, bias) => plusRow(productOf(3, 200, 5, a!, b!), bias!),
    ...oneAfterTheOther(200),
  },
  {
    kernel: 'Einsum',
    about: '3 × 700 × 5, both by columns',
    f: (a, b) => tf.einsum('ji,kj->ik', a, b),
    args: [positive([700, 3], 1), positive([5, 700], 2)],
    reference: (a, b) =>
      ofTerms(15, (add) => {
        for (let j = 0; j < 700; j++)
          for (let i = 0; i < 3; i++) for (let k = 0; k < 5; k++) add(i * 5 + k, a![j * 3 + i]! * b![k * 700 + j]!);
      }),
    ...oneAfterTheOther(700),
  },
  ...[60, 128, 1009].map((n): Summing => ({
    kernel: 'FFT',
    about: `length ${n}, real part`,
    f: (x) => tf.real(tf.fft(tf.complex(x, tf.zerosLike(x)))),
    args: [signed([n])],
    reference: (x) => cosines(x, n, 1),
    bound: 2,
  })),
  {
    kernel: 'IFFT',
    about: 'length 60, real part',
    f: (x) => tf.real(tf.ifft(tf.complex(x, tf.zerosLike(x)))),
    args: [signed([60])],
    reference: (x) => cosines(x, 60, 1 / 60),
    bound: 2,
  },
];

/** The real part of the discrete Fourier transform of real numbers, times a factor. */
function cosines(x: Float32Array, n: number, factor: number): Reference {
  const cos = Float64Array.from({ length: n }, (_, i) => factor * Math.cos((2 * Math.PI * i) / n));
  return ofTerms(n, (add) => {
    for (let k = 0; k < n; k++) for (let j = 0; j < n; j++) add(k, x[j]! * cos[(j * k) % n]!);
  });
}

/** Adds one number per column to the sums, and to the sums of the absolute values. */
function plusRow({ exact, scale }: Reference, bias: Float32Array): Reference {
  const at = (i: number): number => bias[i % bias.length]!;
  return { exact: exact.map((v, i) => v + at(i)), scale: scale.map((v, i) => v + Math.abs(at(i))) };
}

export const sums: readonly Summing[] = [...folds, ...products];
