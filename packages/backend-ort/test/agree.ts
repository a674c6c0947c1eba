import { tf } from '../src/tf.ts';
import { registerOrt } from '../src/register.ts';

export type Tensor = ReturnType<typeof tf.zeros>;
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
