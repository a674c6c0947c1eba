import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';
import { isCalm, isClose, spread, type Host } from './closeness.ts';
import { perturbation } from './perturbation.ts';
import { sizeOf, type DType, type Tensor } from './pool.ts';
import { runProgram, tensorOf, type Outcome, type Program, type Settle } from './program.ts';
import { stepFaults } from './steps.ts';

/** A program's values and gradients on TensorFlow.js's `cpu` and on `ort`, and where they differ. */

const hostOf = (x: Tensor): Host => ({ dtype: x.dtype as DType, shape: x.shape, data: Array.from(x.dataSync()) });

/** A bool that bool arithmetic made may be any number on `cpu`. Here it is 0 or 1, as on `ort`. */
const asBool = (x: Tensor): Tensor =>
  x.dtype === 'bool'
    ? tf.tensor(
        Array.from(x.dataSync(), (v) => (v === 0 ? 0 : 1)),
        x.shape,
        'bool',
      )
    : x;

/** One number that depends on the last float values, each element with another weight, and on every leaf. */
function loss(values: readonly Tensor[], leaves: readonly Tensor[]): Tensor {
  const last = values.filter((x) => x.dtype === 'float32' && x.size > 0).slice(-3);
  const weighted = [...last, ...leaves].map((x, k) =>
    tf.sum(
      tf.mul(
        x,
        tf.tensor(
          Array.from({ length: sizeOf(x.shape) }, (_, i) => (((i + k) * 37) % 19) / 19 + 0.1),
          x.shape,
        ),
      ),
    ),
  );
  return weighted.reduce((a, b) => tf.add(a, b));
}

const isFloat = ({ dtype }: { dtype: string }): boolean => dtype === 'float32';

/** The gradients of the loss, and what `see` makes of the values. */
function gradients(
  program: Program,
  leaves: readonly Tensor[],
  { settle, see = () => {}, derived = true }: { settle?: Settle; see?: (values: Tensor[]) => void; derived?: boolean } = {},
): Tensor[] {
  const floats = derived ? leaves.filter(isFloat) : [];
  const f = (...xs: Tensor[]): Tensor => {
    let next = 0;
    const all = leaves.map((x) => (isFloat(x) ? xs[next++]! : x));
    const values = runProgram(program, all, { ...(settle && { settle }), stop: true });
    see(values);
    return loss(values, xs);
  };
  if (floats.length === 0) {
    see(runProgram(program, leaves, settle && { settle }));
    return [];
  }
  return tf.grads(f)(floats);
}

interface Results {
  values: Host[];
  gradients: Host[] | Error;
}

function onCpu(program: Program, settle: Settle): Results {
  return inScope(() => {
    let values: Host[] = [];
    const read = (xs: Tensor[]): void => void (values = xs.map(hostOf));
    const found = attempt(() =>
      gradients(program, program.leaves.map(tensorOf), { settle: (x, ...about) => settle(asBool(x), ...about), see: read }).map(hostOf),
    );
    return { values, gradients: found };
  });
}

function onOrt(program: Program, log: Outcome[] = []): Results {
  return inScope(() => {
    const leaves = program.leaves.map(tensorOf);
    const values = runProgram(program, leaves, { log }).map(hostOf);
    return { values, gradients: attempt(() => gradients(program, leaves).map(hostOf)) };
  });
}

/** Every third value, so that the other ones may be joined with their readers, and the gradients, from one graph. */
const isReturned = (_: unknown, i: number, all: readonly unknown[]): boolean => i === all.length - 1 || i % 3 === 1;

function compiled(program: Program, derived: boolean): Results {
  return inScope(() => {
    const leaves = program.leaves.map(tensorOf);
    let values: Tensor[] = [];
    const see = (all: Tensor[]): void => void (values = all.filter(isReturned).map((x) => tf.keep(x.clone())));
    const graph = traceGraph(
      tf.backend() as OrtBackend,
      program.leaves,
      (xs) => {
        const found = gradients(program, xs, { see, derived });
        return [...values, ...found];
      },
      'fuzz',
    );
    for (const x of values) x.dispose();
    try {
      const results = graph.run(leaves, leaves.map(() => false)).map(hostOf); // prettier-ignore
      return { values: results.slice(0, values.length), gradients: results.slice(values.length) };
    } finally {
      graph.dispose();
    }
  });
}

const attempt = <T>(f: () => T): T | Error => {
  try {
    return f();
  } catch (error) {
    return error as Error;
  }
};

function inScope<T>(f: () => T): T {
  tf.engine().startScope();
  try {
    return f();
  } finally {
    tf.engine().endScope();
  }
}

/** Runs of `cpu` with rounding errors of another size. What they change says how exactly a value is determined. */
const RUNS = 3;
const RUNS_IN_DOUBT = 40;

/**
 * Where a program's results on `ort` differ from those on `cpu`. Each step is compared with `cpu` on the same inputs. The whole program and its
 * gradients, evaluated and compiled, are compared up to what rounding errors change.
 */
export async function faultsOf(program: Program): Promise<string[]> {
  await tf.setBackend('ort');
  const log: Outcome[] = [];
  const eager = attempt(() => onOrt(program, log));
  if (eager instanceof Error) return [`evaluated: ${eager.message}`];
  const replayed = attempt(() => onOrt(program));
  if (replayed instanceof Error) return [`evaluated again: ${replayed.message}`];
  const inOneGraph = attempt(() => compiled(program, !(eager.gradients instanceof Error)));
  await tf.setBackend('cpu');
  const faults = stepFaults(program, eager.values, log);
  if (faults.length > 0) return faults;
  const cpu = onCpu(program, (x) => x);
  const shaken = (runs: number): Results[] => Array.from({ length: runs }, (_, i) => onCpu(program, perturbation(i + 1)));
  const few = shaken(RUNS);
  if (eager.values.length !== cpu.values.length) return [`ort made ${eager.values.length} values, cpu ${cpu.values.length}`];
  const onlyReturned = (x: Results): Results => ({ ...x, values: x.values.filter(isReturned) });
  const returned = { ...onlyReturned(cpu), ...(eager.gradients instanceof Error && { gradients: [] }) };
  const compare = (runs: Results[]): string[] => [
    ...differences('evaluated', eager, cpu, runs),
    ...(inOneGraph instanceof Error
      ? [`compiled: ${inOneGraph.message}`]
      : differences('compiled', inOneGraph, returned, runs.map(onlyReturned))),
    ...sameBits(eager, replayed),
  ];
  return compare(few).length === 0 ? [] : compare([...few, ...shaken(RUNS_IN_DOUBT)]);
}

function differences(how: string, got: Results, cpu: Results, runs: Results[]): string[] {
  const calm = [cpu, ...runs].every(({ values, gradients: of }) => isCalm(values) && (of instanceof Error || isCalm(of)));
  const list = (what: string, have: Host[], want: Host[], others: Host[][]): string[] =>
    want.flatMap((right, i) => {
      const fault = isClose(have[i]!, right, spread(right, others.map((x) => x[i]!)), calm); // prettier-ignore
      return fault === null ? [] : [`${how}, ${what} ${i} (${right.dtype} [${right.shape}]): ${fault}`];
    });
  const faults = list('value', got.values, cpu.values, runs.map((x) => x.values)); // prettier-ignore
  const [a, b] = [got.gradients, cpu.gradients];
  if (a instanceof Error || b instanceof Error) {
    if (!(a instanceof Error && b instanceof Error)) faults.push(`${how}, gradients: ort ${String(a)}, cpu ${String(b)}`);
    return faults;
  }
  const others = runs.flatMap((x) => (x.gradients instanceof Error ? [] : [x.gradients]));
  return [...faults, ...list('gradient', a, b, others)];
}

/** The second run of an eager program may take another way through the engine. It must give the same bits. */
function sameBits(a: Results, b: Results): string[] {
  const all = ({ values, gradients: of }: Results): Host[] => [...values, ...(of instanceof Error ? [] : of)];
  const others = all(b);
  return all(a).flatMap((x, i) => {
    const at = x.data.findIndex((value, k) => !Object.is(value, others[i]!.data[k]));
    return at < 0 ? [] : [`evaluated twice, result ${i}, element ${at}: first ${x.data[at]}, then ${others[i]!.data[at]}`];
  });
}
