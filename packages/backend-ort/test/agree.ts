import { tf } from '../src/tf.ts';
import { registerOrt } from '../src/register.ts';

export type Tensor = tf.Tensor;
type Result = Tensor | readonly Tensor[];

/** Plain host data for one argument. */
export interface Argument {
  data: number[];
  shape: number[];
  dtype?: 'float32' | 'int32' | 'bool';
}

/** Engine `ort`, registered once. */
export async function useOrt(): Promise<void> {
  if (tf.findBackendFactory('ort') === null) registerOrt();
  await tf.setBackend('ort');
}

/** A stream of plain test numbers in [-1, 1): the same for the same seed, with no run of the generator under test. */
export function numbers(count: number, seed = 1): number[] {
  let state = seed >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** Runs `f` on TensorFlow.js's own `cpu` engine and on `ort`, and compares every value; NaN and the infinities must be the same. */
export async function expectAgreement(f: (...xs: Tensor[]) => Result, args: Argument[], tolerance = 2e-5): Promise<void> {
  const run = async (engine: string): Promise<{ values: number[]; shape: number[]; dtype: string }[]> => {
    await tf.setBackend(engine);
    const xs = args.map(({ data, shape, dtype }) => tf.tensor(data, shape, dtype ?? 'float32'));
    const out = f(...xs);
    const list = (Array.isArray(out) ? out : [out]) as Tensor[];
    const results = list.map((x) => ({ values: Array.from(x.dataSync()), shape: x.shape, dtype: x.dtype }));
    for (const x of [...xs, ...list]) x.dispose();
    return results;
  };
  await useOrt();
  const wanted = await run('cpu');
  const got = await run('ort');
  wanted.forEach((want, i) => {
    const have = got[i]!;
    if (have.shape.join() !== want.shape.join() || have.dtype !== want.dtype) {
      throw new Error(`result ${i}: wanted ${want.dtype} [${want.shape}], got ${have.dtype} [${have.shape}]`);
    }
    const scale = Math.max(1, ...want.values.filter(Number.isFinite).map(Math.abs));
    want.values.forEach((a, at) => {
      const b = have.values[at]!;
      const same = Object.is(a, b) || a === b || (Number.isFinite(a) && Math.abs(a - b) <= tolerance * scale);
      if (!same) throw new Error(`result ${i}, element ${at} of [${want.shape}]: cpu ${a}, ort ${b}`);
    });
  });
}

/** An argument of plain test numbers. */
export const sample = (shape: number[], seed = 1, map: (x: number) => number = (x) => x): Argument => ({
  shape,
  data: numbers(
    shape.reduce((a, b) => a * b, 1),
    seed,
  ).map(map),
});

export const whole = (shape: number[], data: number[]): Argument => ({ shape, data, dtype: 'int32' });

/** Value of f and the gradient of Σ f² with respect to every argument, as on `cpu`. */
export async function expectValueAndGradients(f: (...xs: Tensor[]) => Tensor, args: Argument[], tolerance = 5e-5): Promise<void> {
  await expectAgreement(f, args);
  await expectAgreement((...xs) => tf.grads((...ys: Tensor[]) => tf.sum(tf.square(f(...ys))))(xs), args, tolerance);
}

/**
 * Checks a gradient without another engine, for f with f(c x) = c f(x), c > 0 (Euler): Σ dy f(x) = Σ x ∂(Σ dy f)/∂x. Linear maps are such, and
 * maxima.
 */
export async function expectHomogeneous(f: (x: Tensor) => Tensor, x: Argument, tolerance = 1e-4): Promise<void> {
  await useOrt();
  const [wanted, got] = tf.tidy(() => {
    const at = tf.tensor(x.data, x.shape);
    const y = f(at);
    const dy = tf.tensor(numbers(y.size, 77), y.shape);
    const gradient = tf.grad((v: Tensor) => tf.sum(tf.mul(f(v), dy)))(at);
    if (gradient.shape.join() !== x.shape.join()) throw new Error(`gradient: wanted shape [${x.shape}], got [${gradient.shape}]`);
    return [tf.sum(tf.mul(dy, y)).dataSync()[0]!, tf.sum(tf.mul(at, gradient)).dataSync()[0]!];
  });
  if (!(Math.abs(wanted! - got!) <= tolerance * Math.max(1, Math.abs(wanted!))))
    throw new Error(`Σ dy f(x) is ${wanted}, Σ x dx is ${got}`);
}
