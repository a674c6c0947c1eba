import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { traceGraph, type CompiledGraph } from '../src/compiled-graph.ts';
import { OnePass } from '../src/fused/one-pass.ts';
import { tf } from '../src/tf.ts';
import { numbers, useOrt, type Tensor } from './agree.ts';

/** Random programs; `ATELIER_TEST_PROGRAMS=10000` is the long form. */
const PROGRAMS = Number(process.env.ATELIER_TEST_PROGRAMS ?? 60);
/** Milliseconds after which the random programs are given up: about ten times what they take. */
const PATIENCE = 120_000 + 300 * PROGRAMS;

beforeAll(useOrt);
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

const backend = (): OrtBackend => tf.backend() as OrtBackend;
const bitsOf = (x: Tensor): number[] => Array.from(new Uint32Array((x.dataSync() as Float32Array).buffer)).map((bits, i) => (Number.isNaN(x.dataSync()[i]) ? -1 : bits)); // prettier-ignore

type Step = (inputs: Tensor[]) => Tensor[];

/** A graph whose first `state` arguments are donated, in one pass if `mode` is `on`. */
function compiled(mode: 'on' | 'off', step: Step, shapes: readonly number[][], state: number): CompiledGraph {
  vi.stubEnv('ATELIER_FUSED', mode);
  const signature = shapes.map((shape) => ({ shape, dtype: 'float32' }));
  return traceGraph(backend(), signature, step, 'state', { donated: shapes.map((_, i) => i < state) });
}

/** Notes for each call of a graph in one pass whether it was done in place. */
function watched(): boolean[] {
  const done: boolean[] = [];
  const run = OnePass.prototype.run;
  vi.spyOn(OnePass.prototype, 'run').mockImplementation(function (this: OnePass, ...rest) {
    const out = run.apply(this, rest);
    done.push(out !== null);
    return out;
  });
  return done;
}

const special = [0, -0, 1, NaN, Infinity, -Infinity, 1e-40, -3e38, 2];
const values = (size: number, seed: number, extreme: boolean): number[] =>
  numbers(size, seed).map((x, i) => (extreme && (i * 7 + seed) % 5 === 0 ? special[(i + seed) % special.length]! : x));

/** An expression over the arrays and scalars of a program. */
type Expression = { op: number; a: number; b: number };
const expressions = fc.array(fc.record({ op: fc.nat(5), a: fc.nat(999), b: fc.nat(999) }), { minLength: 3, maxLength: 14 });

const program = fc.record({
  leaves: fc.array(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 4 }),
  arrays: fc.integer({ min: 1, max: 4 }),
  body: expressions as fc.Arbitrary<Expression[]>,
  seed: fc.integer({ min: 1, max: 1e6 }),
  extreme: fc.boolean(),
});

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** New arrays from old ones and computed ones, step by step. Leaves are joined if there are several. */
function stepOf({ leaves, arrays, body }: { leaves: number[][]; arrays: number; body: Expression[] }): Step {
  return (inputs) => {
    const scalar = inputs[arrays * leaves.length]!;
    const joined = (list: Tensor[]): Tensor => (leaves.length === 1 ? list[0]! : tf.concat1d(list.map((x) => tf.reshape(x, [size(x.shape)]) as tf.Tensor1D))); // prettier-ignore
    const old = Array.from({ length: arrays }, (_, k) => joined(inputs.slice(k * leaves.length, (k + 1) * leaves.length)));
    const pool: Tensor[] = [...old, joined(inputs.slice(0, leaves.length).map((x, i) => tf.tanh(tf.add(x, i)))), tf.add(scalar, 1), scalar, tf.scalar(0.75)]; // prettier-ignore
    for (const { op, a, b } of body) {
      const [x, y] = [pool[a % pool.length]!, pool[b % pool.length]!];
      // One operand is an array, so that the results are.
      const z = y.rank === 0 && x.rank === 0 ? old[b % arrays]! : y;
      pool.push([tf.add, tf.sub, tf.mul, tf.div, (u: Tensor) => tf.sqrt(tf.add(u, z)), (u: Tensor) => tf.neg(tf.mul(u, z))][op]!(x, z));
    }
    const last = pool.slice(-arrays);
    return old.flatMap((x, k) => {
      const next = tf.add(tf.mul(x, 0.5), last[k]!.rank === 0 ? tf.add(x, last[k]!) : last[k]!);
      if (leaves.length === 1) return [next];
      return tf.split(next as tf.Tensor1D, leaves.map(size)).map((part, i) => tf.reshape(part, leaves[i]!));
    });
  };
}

describe('a graph that replaces its arguments in place', () => {
  it(
    `gives the bits of the whole graph, with NaN and infinities, in ${PROGRAMS} random programs`,
    () => {
      const done = watched();
      fc.assert(
        fc.property(program, (made) => {
          const shapes = Array.from({ length: made.arrays }, () => made.leaves).flat();
          // Graphs of a few numbers run in JavaScript.
          shapes.forEach((shape) => (shape[0] = Math.max(shape[0]!, made.leaves.length === 1 ? 40 : 10)));
          const run = (mode: 'on' | 'off'): number[][] => {
            const graph = compiled(mode, stepOf(made), [...shapes, []], shapes.length);
            let state = shapes.map((shape, i) => tf.tensor(values(size(shape), made.seed + i, made.extreme), shape)) as Tensor[];
            for (let i = 0; i < 3; i++) {
              const scalar = tf.scalar(0.1 + i);
              state = graph.run([...state, scalar], [...shapes.map(() => true), false]);
              scalar.dispose();
            }
            const bits = state.map(bitsOf);
            state.forEach((x) => x.dispose());
            graph.dispose();
            return bits;
          };
          expect(run('on')).toEqual(run('off'));
        }),
        { numRuns: PROGRAMS },
      );
      expect(done.filter((inPlace) => inPlace).length).toBeGreaterThan(PROGRAMS);
    },
    PATIENCE,
  );

  const shape = [20, 30];
  /** Momentum: two arrays, one gradient that a product computes. */
  const momentum: Step = ([p, m, x]) => {
    const next = tf.add(tf.mul(m!, 0.9), tf.mul(tf.tanh(tf.matMul(x as tf.Tensor2D, p as tf.Tensor2D)), 0.01));
    return [tf.sub(p!, tf.mul(next, 0.1)), next];
  };
  const begin = (seed: number): Tensor[] => [1, 2].map((k) => tf.tensor(numbers(600, seed + k), shape));
  const twenty = (): Tensor => tf.tensor(numbers(400, 9), [20, 20]);
  const graphs = (): CompiledGraph[] => (['on', 'off'] as const).map((mode) => compiled(mode, momentum, [shape, shape, [20, 20]], 2));
  const call = (graph: CompiledGraph, state: Tensor[], x: Tensor): Tensor[] => graph.run([...state, x], [true, true, false]);

  it('writes into the same memory at every call, and says so in its profile', () => {
    const done = watched();
    const [graph] = graphs();
    const x = twenty();
    let state = begin(1);
    const rows = graph!.profile([...state, x], 1);
    expect(rows.find(({ op }) => op === 'OnePass')!.nodes).toBe(1);
    expect(rows.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 6);
    const places: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      state = call(graph!, state, x);
      places.push(state.map(({ dataId }) => backend().hostData(dataId)));
    }
    expect(done).toEqual([true, true, true, true]);
    expect(places[3]![0 as never]).toBe(places[0]![0 as never]);
    graph!.dispose();
  });

  it('leaves alone what somebody else still holds', () => {
    const done = watched();
    const [fused, whole] = graphs();
    const x = twenty();
    const run = (graph: CompiledGraph): number[][] => {
      const seen: Tensor[] = [];
      let state = begin(4);
      for (let i = 0; i < 6; i++) {
        state = call(graph, state, x);
        // A clone, a lazy result that is not computed yet, and an array that was read.
        seen.push(i % 2 === 0 ? state[0]!.clone() : tf.mul(state[0]!, 2));
      }
      // Results of a call without donation live beside their arguments.
      const beside = graph.run([...state, x], [false, false, false]);
      const again = call(graph, state, x);
      return [...seen, ...beside, ...again].map(bitsOf);
    };
    expect(run(fused!)).toEqual(run(whole!));
    expect(done).toContain(true);
    expect(done).toContain(false);
  });

  it('keeps states apart that take turns, also more than it has room for', () => {
    const done = watched();
    const [fused, whole] = graphs();
    const x = twenty();
    const run = (graph: CompiledGraph): number[][] => {
      const states = [1, 5, 9, 13].map(begin);
      for (let i = 0; i < 5; i++) for (const k of states.keys()) states[k] = call(graph, states[k]!, x);
      return states.flat().map(bitsOf);
    };
    expect(run(fused!)).toEqual(run(whole!));
    expect(done.filter((inPlace) => inPlace).length).toBeGreaterThanOrEqual(4);
  });

  it('takes over the state of another graph, and gives up in place when it always has to copy', () => {
    const done = watched();
    const [one, two, whole] = [...graphs(), ...graphs()].filter((_, i) => i !== 1) as [CompiledGraph, CompiledGraph, CompiledGraph];
    const x = twenty();
    const run = (turns: CompiledGraph[]): number[][] => {
      let state = begin(2);
      for (let i = 0; i < 40; i++) state = call(turns[i % turns.length]!, state, x);
      return state.map(bitsOf);
    };
    expect(run([one, two])).toEqual(run([whole]));
    expect(done.slice(0, 4)).toEqual([true, true, true, true]);
    expect(done.slice(-2)).toEqual([false, false]);
  });

  it('runs the whole graph where the system has no room for a heap', () => {
    const [fused, whole] = graphs();
    const x = twenty();
    vi.spyOn(WebAssembly, 'Memory').mockImplementation(function () {
      throw new RangeError('WebAssembly.Memory(): could not allocate memory');
    });
    const [a, b] = [fused!, whole!].map((graph) => call(graph, call(graph, begin(7), x), x).map(bitsOf));
    expect(WebAssembly.Memory).toHaveBeenCalled();
    expect(a).toEqual(b);
  });

  it('copies one tensor that is two arguments, and repeated numbers', () => {
    const [fused, whole] = graphs();
    const x = twenty();
    const run = (graph: CompiledGraph): number[][] => {
      const p = tf.tensor(numbers(600, 3), shape) as Tensor;
      let state = graph.run([p, p, x], [false, false, false]);
      state = call(graph, [state[0]!.clone(), state[0]!], x);
      const bits = state.map(bitsOf);
      state = call(graph, [tf.zeros(shape), tf.zeros(shape)], x);
      return [...bits, ...state.map(bitsOf)];
    };
    expect(run(fused!)).toEqual(run(whole!));
  });

  it('is left out where the end passes an argument on, reads an array elsewhere, or replaces nothing', () => {
    const done = watched();
    const steps: Step[] = [
      ([p, m]) => [p!, tf.add(tf.mul(m!, 0.5), p!)],
      ([p, m]) => [tf.mul(p!, 2), tf.add(m!, tf.sum(tf.mul(p!, 3)))],
      ([p, m]) => [tf.add(p!, m!)],
      ([p, m]) => [tf.add(p!, 1), tf.where(tf.greater(m!, 0), tf.mul(m!, 2), m!)],
    ];
    for (const step of steps) {
      const [on, off] = (['on', 'off'] as const).map((mode) =>
        compiled(mode, step, [shape, shape], 2).run(begin(6), [true, true]).map(bitsOf),
      );
      expect(on).toEqual(off);
    }
    expect(done.length).toBeLessThanOrEqual(2);
  });
});
