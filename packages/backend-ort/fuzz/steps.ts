import { tf } from '../src/tf.ts';
import type { Host } from './closeness.ts';
import type { Closeness } from './operator.ts';
import { largest } from './perturbation.ts';
import { Pool, type Tensor } from './pool.ts';
import { allOperators, runStep, type Outcome, type Program, type Step } from './program.ts';
import { isKnownDifference } from './known-differences.ts';

/** Compares each step with the same operator of `cpu`, on the values that `ort` computed for its inputs. So errors do not add up. */
export function stepFaults({ leaves, steps }: Program, computed: readonly Host[], log: readonly Outcome[]): string[] {
  tf.engine().startScope();
  try {
    const tensor = ({ data, shape, dtype }: Host): Tensor => tf.tensor(data, shape, dtype);
    const values = computed.slice(0, leaves.length).map(tensor);
    let at = leaves.length;
    for (const [i, step] of steps.entries()) {
      const [outcome, onOrt] = [runStep(step, values, false), log[i]!];
      if (outcome === null) continue;
      const { name, closeness } = allOperators[step.operator]!;
      if ('error' in outcome || onOrt === null || 'error' in onOrt) {
        if ('error' in outcome && onOrt !== null && 'error' in onOrt) continue;
        return [
          `${name}: cpu ${'error' in outcome ? outcome.error : 'gives a value'}, ort ${onOrt !== null && 'error' in onOrt ? onOrt.error : 'gives a value'}`,
        ];
      }
      for (const x of outcome.made) {
        const got = computed[at++];
        if (got === undefined) return [`${name}: no value on ort`];
        if (got.dtype !== x.dtype || got.shape.join() !== x.shape.join())
          return [`${name}: wanted ${x.dtype} [${x.shape}], got ${got.dtype} [${got.shape}]`];
        const fault = firstFault(step, closeness, x, got, values, outcome);
        if (fault !== null && !isKnownDifference(name, outcome.taken, got)) return [`${name}: ${fault} of ${outcome.taken.map((t) => `${t.dtype} [${t.shape}] ${t.size <= 12 ? t.dataSync().join() : ''}`).join('; ')}`]; // prettier-ignore
        values.push(tensor(got));
      }
    }
    return [];
  } finally {
    tf.engine().endScope();
  }
}

function firstFault(
  step: Step,
  closeness: Closeness,
  wanted: Tensor,
  got: Host,
  values: Tensor[],
  outcome: { made: Tensor[]; taken: Tensor[] },
): string | null {
  const right = wanted.dataSync();
  let allowed: ((i: number) => number) | undefined;
  for (let i = 0; i < right.length; i++) {
    const value = wanted.dtype === 'bool' && right[i] !== 0 ? 1 : right[i]!;
    const have = got.data[i]!;
    if (have === value || (Number.isNaN(have) && Number.isNaN(value))) continue;
    allowed ??= wanted.dtype === 'float32' ? tolerance(step, closeness, right, values, outcome, wanted) : () => 0;
    if (!(Math.abs(have - value) <= allowed(i))) return `element ${i}: cpu ${value}, ort ${have}`;
  }
  return null;
}

/** Below 1.2e-35, `expm1` and the functions made of it lose digits: at most 1024 times the smallest number (see CONFORMANCE.md). */
const TINY = 1024 * 2 ** -149;

function tolerance(
  step: Step,
  closeness: Closeness,
  right: ArrayLike<number>,
  values: Tensor[],
  { made, taken }: { made: Tensor[]; taken: Tensor[] },
  wanted: Tensor,
): (i: number) => number {
  // prettier-ignore
  if (closeness === 'moved') return () => 0;
  if (closeness === 'near') return (i) => 2e-6 * Math.abs(right[i]!) + TINY;
  if (closeness === 'cancelled') return (i) => 2e-6 * Math.abs(right[i]!) + 1e-6;
  // Functions of this kind get their inputs clipped to 50.
  if (closeness === 'mixed') return () => 1e-5 * Math.min(50, Math.max(1, largest(taken))) ** 2;
  // The sum of the absolute values: the same step on absolute values.
  const pool = new Pool(values.map((x) => (x.dtype === 'bool' ? x : tf.abs(x))), step.numbers, false, true); // prettier-ignore
  const result = allOperators[step.operator]!.apply(pool);
  const sums = (Array.isArray(result) ? result : [result])[made.indexOf(wanted)]!.dataSync();
  return (i) => (sums[i]! < 1e37 ? 1e-5 * sums[i]! + 1e-37 : Infinity);
}
