import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';
import { SIZES, type Call, type Tensor } from './table.ts';

/** Makes the calls of the sweep, on `cpu` and in several ways on `ort`. */

export type DType = 'float32' | 'int32' | 'bool';
export const DTYPES: readonly DType[] = ['float32', 'int32', 'bool'];

export interface Value {
  data: number[];
  shape: number[];
  dtype: DType;
}
/** The results of a call, or what it threw. */
export type Outcome = Value[] | Error;

/** The values of the operands, if the operands without a type of their own have `dtype`, and the axis `empty` has size 0. */
export function operandsOf(operands: string, dtype: DType, empty: string | null): Value[] {
  return operands.split(',').map((operand, at): Value => {
    const words = operand.trim().split(/\s+/).filter((word) => word !== ''); // prettier-ignore
    const own = DTYPES.find((type) => words.includes(type));
    const limit = words.find((word) => word.startsWith('<'));
    const axes = words.filter((word) => word !== own && word !== limit);
    const shape = axes.map((axis) => (axis === empty ? 0 : (SIZES[axis] ?? Number(axis))));
    const size = shape.reduce((a, b) => a * b, 1);
    const type = limit !== undefined ? 'int32' : (own ?? dtype);
    const below = limit === undefined ? null : Number(limit.slice(1));
    return { shape, dtype: type, data: Array.from({ length: size }, (_, i) => numberAt(i, at, type, below)) };
  });
}

/** Test numbers without a pattern: floats in [-4, 4), whole numbers from -8 to 8, or whole numbers below a limit. */
function numberAt(i: number, operand: number, dtype: DType, below: number | null): number {
  const mixed = Math.imul(Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(operand + 1, 0x85ebca6b), 0xc2b2ae35) >>> 0;
  const unit = mixed / 2 ** 32;
  if (below !== null) return Math.floor(unit * below);
  if (dtype === 'bool') return unit < 0.5 ? 0 : 1;
  return dtype === 'int32' ? Math.floor(unit * 17) - 8 : Math.fround(unit * 8 - 4);
}

const make = ({ data, shape, dtype }: Value): Tensor => tf.tensor(data, shape, dtype);
const listOf = (made: Tensor | readonly Tensor[]): readonly Tensor[] => (Array.isArray(made) ? made : [made]) as readonly Tensor[];
const read = (x: Tensor): Value => ({ data: Array.from(x.dataSync()), shape: x.shape, dtype: x.dtype as DType });

function attempt(f: () => Value[]): Outcome {
  tf.engine().startScope();
  try {
    return f();
  } catch (error) {
    return error as Error;
  } finally {
    tf.engine().endScope();
  }
}

/** Operands that are still to be computed when the call is made. */
const pending = (x: Tensor): Tensor => (x.dtype === 'bool' ? tf.logicalNot(tf.logicalNot(x)) : tf.neg(tf.neg(x)));

/** The call made at once, on whichever engine is in use. */
export const evaluated = ({ f }: Call, operands: readonly Value[]): Outcome => attempt(() => listOf(f(...operands.map(make))).map(read));

/** The call on operands that are pending, where all but the results are disposed before a result is read. */
function lazily({ f }: Call, operands: readonly Value[]): Outcome {
  return attempt(() => listOf(tf.tidy(() => [...listOf(f(...operands.map((x) => pending(make(x)))))])).map(read));
}

/** One result is read, after all others were disposed. */
function onlyOne({ f }: Call, operands: readonly Value[], index: number): Outcome {
  return attempt(() => {
    const results = listOf(f(...operands.map(make)));
    const left = results[index]!;
    for (const x of results) if (x !== left) x.dispose();
    return [read(left)];
  });
}

type Choice = (results: readonly Tensor[]) => readonly Tensor[];
const all: Choice = (results) => results;

/** The call as a compiled graph, run twice. The operands are its arguments, or constants in it. */
export function compiled({ f }: Call, operands: readonly Value[], choose: Choice = all, constant = false): Outcome {
  return attempt(() => {
    const backend = tf.backend() as OrtBackend;
    const xs = operands.map(make);
    const graph = constant
      ? traceGraph(backend, [], () => [...choose(listOf(f(...xs)))], 'sweep')
      : traceGraph(backend, operands, (ys) => [...choose(listOf(f(...ys)))], 'sweep');
    const given = constant ? [] : xs;
    const once = (): Value[] => graph.run(given, given.map(() => false)).map(read); // prettier-ignore
    const [first, second] = [once(), once()];
    graph.dispose();
    if (JSON.stringify(first) !== JSON.stringify(second)) throw new Error('the second run gives other values than the first');
    return first;
  });
}

/** All ways to make a call on `ort`, by name. `wanted` says which results a way gives. */
export function ways(call: Call, operands: readonly Value[], results: number): { way: string; wanted: number[]; outcome: Outcome }[] {
  const every = Array.from({ length: results }, (_, i) => i);
  const list = [
    { way: 'evaluated', wanted: every, outcome: evaluated(call, operands) },
    { way: 'evaluated again', wanted: every, outcome: evaluated(call, operands) },
    { way: 'on pending operands', wanted: every, outcome: lazily(call, operands) },
    { way: 'on pending operands again', wanted: every, outcome: lazily(call, operands) },
    { way: 'compiled', wanted: every, outcome: compiled(call, operands) },
    { way: 'compiled with constants', wanted: every, outcome: compiled(call, operands, all, true) },
  ];
  if (results > 1) {
    for (const i of every) {
      list.push({ way: `only result ${i}`, wanted: [i], outcome: onlyOne(call, operands, i) });
      list.push({ way: `only result ${i}, again`, wanted: [i], outcome: onlyOne(call, operands, i) });
      list.push({ way: `only result ${i}, compiled`, wanted: [i], outcome: compiled(call, operands, (made) => [made[i]!]) });
    }
  }
  return list;
}
