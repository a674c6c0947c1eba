import fc from 'fast-check';
import { tf } from '../src/tf.ts';
import { elementwise } from './elementwise.ts';
import { moves } from './moves.ts';
import type { Closeness, Operator } from './operator.ts';
import { MAX_SIZE, NothingFits, Pool, sizeOf, type DType, type Tensor } from './pool.ts';
import { windows } from './windows.ts';

export const allOperators: readonly Operator[] = [...elementwise, ...moves, ...windows];

/** Data of an input. The values are repeated until the shape is full. */
export interface Leaf {
  dtype: DType;
  shape: number[];
  values: number[];
}
/** One operator, and the numbers from which it takes its inputs, axes, widths and so on. */
export interface Step {
  operator: number;
  numbers: number[];
}
export interface Program {
  leaves: Leaf[];
  steps: Step[];
}

const dataOf = ({ dtype, shape, values }: Leaf): number[] =>
  Array.from({ length: sizeOf(shape) }, (_, i) => {
    const value = values[i % values.length]!;
    return dtype === 'float32' ? value : dtype === 'int32' ? Math.trunc(value) || 0 : value > 0 ? 1 : 0;
  });
export const tensorOf = (leaf: Leaf): Tensor => tf.tensor(dataOf(leaf), leaf.shape, leaf.dtype);

const usual = fc.integer({ min: -48, max: 48 }).map((x) => x / 8);
const special = fc.constantFrom(NaN, Infinity, -Infinity, -0, 1e-30, -1e-30, 1e30, 3e38, 1e-40, 16777217, 0.99999994);
const leaf: fc.Arbitrary<Leaf> = fc
  .record({
    dtype: fc.constantFrom<DType[]>('float32', 'float32', 'float32', 'int32', 'bool'),
    shape: fc.array(fc.oneof({ weight: 30, arbitrary: fc.integer({ min: 1, max: 5 }) }, { weight: 1, arbitrary: fc.constant(0) }), {
      maxLength: 4,
    }),
    values: fc.array(fc.oneof({ weight: 60, arbitrary: usual }, { weight: 1, arbitrary: special }), { minLength: 1, maxLength: 24 }),
  })
  .map(({ dtype, shape, values }) => ({
    dtype,
    shape,
    // An int32 has no special values.
    values: dtype === 'float32' ? values : values.map((x) => (Math.abs(x) <= 100 ? x : 7)),
  }));

/** Programs of 5 to 30 operators. fast-check makes a failing one shorter. */
export const programs: fc.Arbitrary<Program> = fc.record({
  leaves: fc.array(leaf, { minLength: 1, maxLength: 3 }),
  steps: fc.array(
    fc.record({
      operator: fc.nat({ max: allOperators.length - 1 }),
      numbers: fc.array(fc.nat({ max: 999 }), { minLength: 10, maxLength: 10 }),
    }),
    { minLength: 5, maxLength: 30 },
  ),
});

/** What a step gave: tensors, or the message of its error, or nothing if no value fits it. */
export type Outcome = { made: Tensor[]; taken: Tensor[] } | { error: string } | null;

export function runStep(step: Step, values: readonly Tensor[], stop: boolean): Outcome {
  const { apply, gradient } = allOperators[step.operator]!;
  const pool = new Pool(values, step.numbers, stop && !gradient);
  try {
    const result = apply(pool);
    const made = (Array.isArray(result) ? result : [result]).filter((x) => x.size <= MAX_SIZE && x.rank <= 6);
    return { made, taken: pool.taken };
  } catch (error) {
    if (error instanceof NothingFits) return null;
    return { error: (error as Error).message };
  }
}

/** Replaces a value by another of the same shape and type. It gets the closeness and the inputs of the operator too. */
export type Settle = (x: Tensor, closeness: Closeness, inputs: readonly Tensor[]) => Tensor;

/** Runs a program. `settle` may replace each value by another of the same shape and type. Returns the values of the leaves and of all steps; `log` gets the outcome of each step. */
export function runProgram(
  { steps }: Program,
  leaves: readonly Tensor[],
  { settle = (x) => x, stop = false, log = [] }: { settle?: Settle; stop?: boolean; log?: Outcome[] } = {},
): Tensor[] {
  const values = leaves.map((x) => settle(x, 'near', []));
  for (const step of steps) {
    const outcome = runStep(step, values, stop);
    log.push(outcome);
    if (outcome === null || 'error' in outcome) continue;
    const { closeness } = allOperators[step.operator]!;
    values.push(...outcome.made.map((x) => settle(x, closeness, outcome.taken)));
  }
  return values;
}

/** A program as text, one line per step that did something. */
export function show(program: Program): string {
  const lines = program.leaves.map((x, i) => `  v${i} = ${x.dtype} [${x.shape}] ${JSON.stringify(dataOf(x).slice(0, 30).map((v) => (Object.is(v, -0) ? '-0' : Number.isFinite(v) ? v : String(v))))}`); // prettier-ignore
  tf.tidy(() => {
    const values = program.leaves.map(tensorOf);
    for (const step of program.steps) {
      const outcome = runStep(step, values, false);
      const { name } = allOperators[step.operator]!;
      if (outcome === null) continue;
      if ('error' in outcome) lines.push(`  ${name} throws: ${outcome.error}`);
      else {
        const inputs = outcome.taken.map((x) => `v${values.indexOf(x)}`).join(', ');
        lines.push(
          `  ${outcome.made.map((x, i) => `v${values.length + i} ${x.dtype} [${x.shape}]`).join(', ')} = ${name}(${inputs}) ${step.numbers.slice(0, 6)}`,
        );
        values.push(...outcome.made);
      }
    }
  });
  return lines.join('\n');
}
