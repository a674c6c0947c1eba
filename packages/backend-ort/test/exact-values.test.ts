import { describe, expect, it } from 'vitest';
import { tf } from '../src/tf.ts';
import { useOrt, type Tensor } from './agree.ts';
import { onOrt, type Operand } from './sweep.ts';

/** Values that are known exactly, evaluated and compiled: IEEE 754, the definition, or a formula in float64. */

const floats = (...values: number[]): Operand => ({ values, dtype: 'float32' });
const whole = (...values: number[]): Operand => ({ values, dtype: 'int32' });
const bools = (...values: number[]): Operand => ({ values, dtype: 'bool' });
const LOWEST = -2147483648;

async function expectExact(f: (...xs: Tensor[]) => Tensor, args: Operand[], wanted: number[], dtype: string): Promise<void> {
  for (const compiled of [false, true]) {
    const got = await onOrt(f, args, compiled);
    if (got instanceof Error) throw got;
    expect(got.dtype).toBe(dtype);
    expect(got.values.length).toBe(wanted.length);
    wanted.forEach((value, i) => {
      const same = Object.is(got.values[i], value) || Math.abs(got.values[i]! - value) <= 4e-7 * Math.abs(value);
      if (!same) throw new Error(`element ${i}${compiled ? ', compiled' : ''}: wanted ${value}, got ${got.values[i]}`);
    });
  }
}
/** Constants all the way, which ONNX Runtime computes while it loads the model. */
const constant = (f: () => Tensor) => (x: Tensor) => tf.add(f(), tf.cast(tf.mul(x, 0), 'int32'));

describe('whole numbers', () => {
  it('divide where the processor would trap', async () => {
    const [a, b] = [whole(LOWEST, LOWEST, 7, 0, LOWEST, -7), whole(-1, 0, 0, 0, 2, 2)];
    await expectExact((x, y) => tf.floorDiv(x, y), [a, b], [LOWEST, 0, 0, 0, -1073741824, -4], 'int32');
    await expectExact((x, y) => tf.div(x, y), [a, b], [LOWEST, 0, 0, 0, -1073741824, -4], 'int32');
    await expectExact((x, y) => tf.mod(x, y), [a, b], [0, 0, 0, 0, 0, 1], 'int32');
    const filled = (value: number): Tensor => tf.fill([1], value, 'int32');
    await expectExact(
      constant(() => tf.floorDiv(filled(LOWEST), filled(-1))),
      [whole(0)],
      [LOWEST],
      'int32',
    );
    await expectExact(
      constant(() => tf.mod(filled(LOWEST), filled(-1))),
      [whole(0)],
      [0],
      'int32',
    );
    await expectExact(
      constant(() => tf.mod(filled(5), filled(0))),
      [whole(0)],
      [0],
      'int32',
    );
  });

  it('compare as they are', async () => {
    await expectExact((x) => tf.argMax(x), [whole(16777216, 16777217)], [1], 'int32');
    await expectExact((x) => tf.argMin(x), [whole(16777217, 16777216)], [1], 'int32');
    await expectExact((x, y) => tf.equal(x, y), [whole(16777217), floats(16777216)], [0], 'bool');
    await expectExact((x, y) => tf.greater(x, y), [whole(16777217), floats(16777216)], [1], 'bool');
    await expectExact((x) => tf.max(x), [whole(16777216, 16777217)], [16777217], 'int32');
    await expectExact((x) => tf.clipByValue(x, 0, Infinity), [whole(-5, 16777217)], [0, 16777217], 'int32');
  });
});

describe('bool', () => {
  it('is selected, one-hot, and meets whole numbers', async () => {
    await expectExact((c, a, b) => tf.where(c, a, b), [bools(1, 0), bools(1, 1), bools(0, 0)], [1, 0], 'bool');
    await expectExact((c, a, b) => tf.where(c, a, b), [bools(1, 0), bools(1, 1), whole(5, 7)], [1, 7], 'int32');
    await expectExact((i) => tf.reshape(tf.oneHot(i as never, 3, 1, 0, 'bool'), [3]), [whole(1)], [0, 1, 0], 'bool');
    await expectExact((a, b) => tf.where(tf.mul(a, b), 1, 2), [bools(1, 0), bools(1, 1)], [1, 2], 'float32');
  });

  it('is 0 or 1, whatever number a program gives', async () => {
    const bytes = (): Tensor => tf.tensor1d(Uint8Array.of(2, 0, 255), 'bool');
    await expectExact(bytes, [], [1, 0, 1], 'bool');
    await expectExact(() => tf.logicalNot(bytes()), [], [0, 1, 0], 'bool');
    await expectExact(() => tf.cast(bytes(), 'float32'), [], [1, 0, 1], 'float32');
    await expectExact((x) => tf.logicalAnd(x, bytes()), [bools(1, 1, 1)], [1, 0, 1], 'bool');
    await expectExact(() => tf.fill([2], 7, 'bool' as 'float32'), [], [1, 1], 'bool');
    await expectExact(() => tf.range(0, 3, 1, 'bool' as 'float32'), [], [0, 1, 1], 'bool');
    // `cpu` adds true values to 2.
    await tf.setBackend('cpu');
    const two = tf.add(tf.tensor1d([1], 'bool'), tf.tensor1d([1], 'bool'));
    await useOrt();
    expect(Array.from(tf.cast(two, 'int32').dataSync())).toEqual([1]);
  });
});

describe('floats', () => {
  it('atan2 of every special pair', async () => {
    const pi = Math.PI;
    const y = [NaN, Infinity, Infinity, -0, 0, 0, -0, 0, -0, 1, -1, 1, -1, Infinity, -Infinity, 2, -2];
    const x = [0, Infinity, -Infinity, -1, -0, 0, 0, 1, 1, 0, -0, Infinity, -Infinity, 5, 5, NaN, -2];
    const right = [NaN, pi / 4, (3 * pi) / 4, -pi, pi, 0, -0, 0, -0, pi / 2, -pi / 2, 0, -pi, pi / 2, -pi / 2, NaN, (-3 * pi) / 4];
    await expectExact((a, b) => tf.atan2(a, b), [floats(...y), floats(...x)], right, 'float32');
  });

  it('equal infinite elements keep their order in topk', async () => {
    const x = floats(1, Infinity, -Infinity, Infinity, 2, Infinity);
    await expectExact((v) => tf.topk(v, 5).indices, [x], [1, 3, 5, 4, 0], 'int32');
  });

  it('expm1, log1p, elu and atan2 keep the sign of a zero', async () => {
    const signs = async (f: (...xs: Tensor[]) => Tensor, ...args: Operand[]): Promise<void> => {
      for (const compiled of [false, true]) {
        const got = await onOrt(f, args, compiled);
        if (got instanceof Error) throw got;
        expect(got.values.map((value) => Object.is(value, -0))).toEqual([true, false, true, false]);
      }
    };
    for (const f of [tf.expm1, tf.log1p, tf.elu]) await signs(f, floats(-0, 0, -0, 0));
    await signs(tf.atan2, floats(-0, 0, -0, 0), floats(1, 1, 2, 2));
  });

  it('sigmoid, its gradients and silu keep their digits', async () => {
    const at = [-80, -20, -17, -16, -1, 0, 1, 10];
    const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
    await expectExact((x) => tf.sigmoid(x), [floats(...at)], at.map(sigmoid), 'float32');
    await expectExact((x) => tf.grad((v: Tensor) => tf.sum(tf.sigmoid(v)))(x), [floats(...at)], at.map((x) => sigmoid(x) * (1 - Math.fround(sigmoid(x)))), 'float32'); // prettier-ignore
    const log = (x: Tensor): Tensor => tf.grad((v: Tensor) => tf.sum(tf.log(tf.sigmoid(v))))(x);
    await expectExact(
      log,
      [floats(-80, -20, -17, -1, 0)],
      [-80, -20, -17, -1, 0].map((x) => sigmoid(-x)),
      'float32',
    );
    await expectExact((x) => tf.grad((v: Tensor) => tf.sum(tf.logSigmoid(v)))(x), [floats(...at, 40)], [...at, 40].map((x) => sigmoid(-x)), 'float32'); // prettier-ignore
    await expectExact((x) => tf.mul(x, tf.sigmoid(x)), [floats(-20)], [-20 * sigmoid(-20)], 'float32');
  });

  it('elu and selu near 0, also behind a product', async () => {
    const selu = (x: number): number => 1.7580993408473768 * Math.expm1(x);
    await expectExact((x) => tf.selu(x), [floats(-1e-8, -1e-6)], [selu(-1e-8), selu(-1e-6)], 'float32');
    await expectExact((x) => tf.elu(x), [floats(-1e-8, -1e-6)], [-1e-8, Math.expm1(-1e-6)], 'float32');
    const fused = (x: Tensor): Tensor =>
      tf.reshape(tf.fused.matMul({ a: tf.reshape(x, [2, 1]), b: tf.ones([1, 1]), activation: 'elu' }), [2]);
    await expectExact(fused, [floats(-1e-8, -1e-6)], [-1e-8, Math.expm1(-1e-6)], 'float32');
    const gate = (x: Tensor): Tensor =>
      tf.reshape(tf.fused.matMul({ a: tf.reshape(x, [1, 1]), b: tf.ones([1, 1]), activation: 'sigmoid' as never }), [1]);
    await expectExact(gate, [floats(-20)], [1 / (1 + Math.exp(20))], 'float32');
  });

  it('steps from a start without a sum that drifts', async () => {
    const n = 100_001;
    const ends = (f: () => Tensor) => (x: Tensor) => tf.add(tf.gather(f(), tf.tensor1d([0, 50_000, n - 1], 'int32')), tf.mul(x, 0));
    await expectExact(
      ends(() => tf.linspace(0, 1, n)),
      [floats(1, 1, 1)],
      [0, 0.5, 1],
      'float32',
    );
    await expectExact(
      ends(() => tf.range(0, 10_000.05, 0.1)),
      [floats(1, 1, 1)],
      [0, 5000, 10_000],
      'float32',
    );
  });
});

describe('a coordinate out of its own range', () => {
  const at = (...values: number[]): Tensor => tf.tensor(values, [1, 2], 'int32');
  const writes: Record<string, (i: Tensor) => Tensor> = {
    ScatterNd: (i) => tf.scatterND(i, tf.tensor1d([9]), [3, 4]),
    TensorScatterUpdate: (i) => tf.tensorScatterUpdate(tf.zeros([3, 4]), i, tf.tensor1d([9])),
    SparseToDense: (i) => tf.sparseToDense(i as never, tf.tensor1d([9]), [3, 4]),
    GatherNd: (i) => tf.gatherND(tf.ones([3, 4]), i),
  };
  for (const [name, f] of Object.entries(writes)) {
    it(`${name} refuses it by name, index and bound, or when it is computed`, async () => {
      await tf.setBackend('ort');
      for (const [row, column, text] of [
        [0, 5, '5 is not in [0, 3]'],
        [1, -1, '-1 is not in [0, 3]'],
        [3, 0, '3 is not in [0, 2]'],
      ] as const) {
        // prettier-ignore
        expect(() => f(at(row, column))).toThrow(`ort ${name}: the index value ${text}`);
        const late = f(tf.add(at(row - 1, column - 1), tf.scalar(1, 'int32')));
        expect(() => late.dataSync()).toThrow(/out of data bounds|invalid index|out of bounds/i);
        late.dispose();
      }
      expect(f(tf.add(at(0, 0), tf.scalar(1, 'int32'))).dataSync().length).toBeGreaterThan(0);
    });
  }
});
