import { afterAll, describe, expect, it } from 'vitest';
import { compile, jvp, tf, useEngine, type Tensor } from '../src/index.ts';

const rows = [
  [-Infinity, -Infinity, -Infinity],
  [Infinity, 1, -Infinity],
  [Infinity, Infinity, 0],
  [NaN, 1, 2],
  [-Infinity, 1, 1],
  [1, 2, 3],
  [1000, 1000, -1000],
];
const values = [-Infinity, Infinity, Infinity, NaN, 1 + Math.log(2), 3 + Math.log(1 + Math.exp(-1) + Math.exp(-2)), 1000 + Math.log(2)];
const e = [1, 2, 3].map((x) => Math.exp(x));
const total = e[0]! + e[1]! + e[2]!;
const shares = [[1 / 3, 1 / 3, 1 / 3], [1, 0, 0], [0.5, 0.5, 0], [NaN, NaN, NaN], [0, 0.5, 0.5], e.map((x) => x / total), [0.5, 0.5, 0]]; // prettier-ignore

function expectClose(got: ArrayLike<number>, wanted: number[]): void {
  expect(got.length).toBe(wanted.length);
  wanted.forEach((value, i) => (Number.isFinite(value) ? expect(got[i]).toBeCloseTo(Math.fround(value), 5) : expect(got[i]).toBe(value)));
}

describe.each(['cpu', 'ort'] as const)('logSumExp on %s', (engine) => {
  afterAll(() => useEngine('ort'));

  it('is right at infinities, in value and gradient, evaluated and compiled', async () => {
    await useEngine(engine);
    const x = tf.tensor2d(rows);
    const f = (v: Tensor): { value: Tensor; chained: Tensor; gradient: Tensor } => ({
      value: tf.logSumExp(v, 1),
      chained: v.logSumExp(-1, true),
      gradient: tf.grad((w: Tensor) => tf.sum(tf.logSumExp(w, 1)))(v),
    });
    const compiled = compile(f);
    for (const run of [f, compiled]) {
      const { value, chained, gradient } = tf.tidy(() => run(x));
      expectClose(value.dataSync(), values);
      expect(chained.shape).toEqual([rows.length, 1]);
      expectClose(chained.dataSync(), values);
      expectClose(gradient.dataSync(), shares.flat());
      tf.dispose([value, chained, gradient]);
    }
    compiled.dispose();
    x.dispose();
  });

  it('has a directional derivative, and takes every axis, several, lists and whole numbers', async () => {
    await useEngine(engine);
    tf.tidy(() => {
      const { tangent } = jvp((v) => tf.logSumExp(v), [tf.tensor1d([-Infinity, 1, 2, 3])], [tf.tensor1d([5, 1, 2, 3])]);
      expectClose(tangent.dataSync(), [(e[0]! + 2 * e[1]! + 3 * e[2]!) / total]);
      expectClose(tf.logSumExp([[1, 2], [3, 4]], [0, 1]).dataSync(), [Math.log(Math.exp(1) + Math.exp(2) + Math.exp(3) + Math.exp(4))]); // prettier-ignore
      expect(tf.logSumExp(tf.ones([2, 3, 4]), [0, 2]).shape).toEqual([3]);
      expectClose(tf.logSumExp(tf.tensor1d([1, 2, 3], 'int32')).dataSync(), [Math.log(total)]);
    });
  });
});
