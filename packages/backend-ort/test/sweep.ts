import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';
import { useOrt, type Tensor } from './agree.ts';

/** Runs a function on TensorFlow.js's own `cpu` engine, and on `ort` evaluated and compiled, and lists where they differ. */

export type DType = 'float32' | 'int32' | 'bool';
export const DTYPES: DType[] = ['float32', 'int32', 'bool'];

export interface Operand {
  values: number[];
  dtype: DType;
  /** One axis if absent. */
  shape?: number[];
}

interface Result {
  dtype: string;
  values: number[];
}
const read = (x: Tensor): Result => ({ dtype: x.dtype, values: Array.from(x.dataSync()) });
const make = ({ values, dtype, shape }: Operand): Tensor => tf.tensor(values, shape ?? [values.length], dtype);
function inTidy(f: () => Result): Result {
  tf.engine().startScope();
  try {
    return f();
  } finally {
    tf.engine().endScope();
  }
}
/** The result, or what was thrown. */
const attempt = (f: () => Result): Result | Error => {
  try {
    return f();
  } catch (error) {
    return error as Error;
  }
};

async function onCpu(f: (...xs: Tensor[]) => Tensor, args: Operand[]): Promise<Result | Error> {
  await tf.setBackend('cpu');
  return attempt(() => inTidy(() => read(f(...args.map(make)))));
}

export async function onOrt(f: (...xs: Tensor[]) => Tensor, args: Operand[], compiled: boolean): Promise<Result | Error> {
  await useOrt();
  const backend = tf.backend() as OrtBackend;
  return attempt(() =>
    inTidy(() => {
      const xs = args.map(make);
      if (!compiled) return read(f(...xs));
      const signature = args.map(({ values, dtype, shape }) => ({ shape: shape ?? [values.length], dtype }));
      const graph = traceGraph(backend, signature, (ys) => [f(...ys)], 'sweep');
      const [y] = graph.run(xs, xs.map(() => false)); // prettier-ignore
      const result = read(y!);
      graph.dispose();
      return result;
    }),
  );
}

/** Distance in units in the last place of float32. Below the smallest normal number 2e-43 counts as none. */
function distance(got: number, wanted: number): number {
  const rounded = Math.fround(wanted);
  if (Object.is(got, wanted) || got === wanted || got === rounded || (Number.isNaN(got) && Number.isNaN(wanted))) return 0;
  if (!Number.isFinite(got) || !Number.isFinite(rounded)) return Infinity;
  if (Math.abs(got - wanted) < 2e-43) return 0;
  const unit = Math.max(2 ** -149, 2 ** (Math.floor(Math.log2(Math.abs(wanted))) - 23));
  return Math.abs(got - wanted) / unit;
}

export interface Case {
  f: (...xs: Tensor[]) => Tensor;
  /** In float64, where `cpu` is not exact. */
  exact?: (...xs: number[]) => number;
  /** On whole numbers, where `cpu` rounds to 53 bits before it goes around at 32, or to float32. */
  whole?: (...xs: number[]) => number;
  /** Units in the last place. */
  ulps?: number;
  /** The largest int32 beside a float, which it is rounded to; on `cpu` it is not. */
  most?: number;
  /** Only operands of one type, as TensorFlow.js calls it. */
  alike?: true;
}

export async function compare(name: string, { f, exact, whole, ulps = 4 }: Case, args: Operand[]): Promise<string[]> {
  const wanted = await onCpu(f, args);
  const faults: string[] = [];
  for (const compiled of [false, true]) {
    const got = await onOrt(f, args, compiled);
    const where = `${name}(${args.map(({ dtype }) => dtype).join()})${compiled ? ' compiled' : ''}`;
    if (wanted instanceof Error || got instanceof Error) {
      if (!(wanted instanceof Error && got instanceof Error)) faults.push(`${where}: cpu ${String(wanted instanceof Error ? wanted : wanted.dtype)}, ort ${String(got instanceof Error ? got : got.dtype)}`); // prettier-ignore
      continue;
    }
    if (got.dtype !== wanted.dtype) faults.push(`${where}: dtype cpu ${wanted.dtype}, ort ${got.dtype}`);
    got.values.forEach((value, i) => {
      const at = args.map(({ values, dtype }) => (dtype === 'float32' ? Math.fround(values[i]!) : values[i]!));
      // A bool holds 0 or 1 here; on cpu it may hold the number.
      const stored = wanted.dtype === 'bool' ? Math.min(1, wanted.values[i]!) : wanted.values[i]!;
      const formula = wanted.dtype === 'float32' ? exact : wanted.dtype === 'int32' ? whole : undefined;
      const right = formula === undefined ? stored : formula(...at);
      const off = distance(value, right);
      if (off > (wanted.dtype === 'float32' ? ulps : 0)) faults.push(`${where} at ${at.map((v) => (Object.is(v, -0) ? '-0' : v)).join()}: wanted ${right}, got ${value}`); // prettier-ignore
    });
  }
  return faults;
}
