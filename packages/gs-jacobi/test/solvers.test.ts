import { disposeTree, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { compileCausalMap, solveExactly, solveGsJacobi } from '../src/index.ts';
import { expToy, linearToy, noise, problem, tanhSequential, tanhToy } from './toys.ts';

beforeAll(async () => {
  await useEngine();
});

const exactly = -1;
const host = (x: Tensor): Float32Array => x.dataSync() as Float32Array;
/** The iterates after 0, 1, 2 … iterations of the whole sequence. */
function iterates(run: (onIteration: (state: { x: Tensor }) => void) => void, guess: Tensor): Float32Array[] {
  const all = [host(guess).slice()];
  run(({ x }) => all.push(host(x).slice()));
  return all;
}

describe('the linear toy', () => {
  const [B, T, D] = [2, 9, 3];
  it('after n iterations has aⁿ times the first error, n tokens later', () => {
    const graphs = compileCausalMap(linearToy);
    const a = 0.8;
    const z = noise([B, T, D]);
    for (const guess of ['z', 'zero'] as const) {
      const p = problem({ a: tf.scalar(a) }, z, guess);
      const exact = host(solveExactly(graphs, p, { window: 1, tolerance: 0 }).x);
      const all = iterates((onIteration) => {
        solveGsJacobi(graphs, p, { segments: 1, iterations: T, tolerance: exactly, onIteration });
      }, p.guess);
      expect(all).toHaveLength(T);
      const error = all.map((x) => x.map((value, i) => value - exact[i]!));
      error.forEach((e, n) => {
        const predicted = e.map((_, i) => {
          const t = Math.floor(i / D) % T;
          return t > n ? a ** n * error[0]![i - n * D]! : 0;
        });
        expectClose(e, predicted, { abs: 2e-6 }, `guess ${guess}, iteration ${n}`);
      });
    }
  });

  it('needs per segment at most as many iterations as it has unknowns, for segments of any sizes', () => {
    const graphs = compileCausalMap(linearToy);
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
        fc.constantFrom('z' as const, 'zero' as const),
        (sizes, guess) => {
          const tokens = sizes.reduce((sum, size) => sum + size, 0);
          const p = problem({ a: tf.scalar(1.3) }, noise([B, tokens, 2]), guess);
          const { x, report } = solveGsJacobi(graphs, p, { segments: sizes, iterations: 50, tolerance: exactly });
          expectClose(x, solveExactly(graphs, p, { window: 1 }).x, { abs: 1e-6, rel: 1e-6 });
          expect(report.segments.map(({ size }) => size)).toEqual(sizes.slice(0, report.segments.length));
          const unknowns = sizes.map((size, g) => (g === sizes.length - 1 ? size - 1 : size));
          expect(report.segments.map(({ iterations }) => iterations)).toEqual(unknowns.slice(0, report.segments.length));
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe('the tanh toy', () => {
  const [B, T] = [2, 12];
  const binomial = (n: number, k: number): number => (k > n ? 0 : k === 0 ? 1 : (binomial(n - 1, k - 1) * n) / k);

  it('keeps within the bound on errors, which falls ever faster', () => {
    const graphs = compileCausalMap(tanhToy);
    for (const slope of [0.1, 0.5, 2]) {
      const p = problem({ slope: tf.scalar(slope) }, noise([B, T, 1]));
      const exact = tanhSequential(host(p.guess), T, slope);
      const all = iterates((onIteration) => {
        solveGsJacobi(graphs, p, { segments: 1, iterations: T, tolerance: exactly, onIteration });
      }, p.guess);
      const error = all.map((x) => [...x].map((value, i) => Math.abs(value - exact[i]!)));
      const start = Math.max(...error[0]!);
      const rounding = 2e-6 * Math.max(...exact.map(Math.abs), 1);
      error.forEach((e, n) => {
        e.forEach((value, i) => {
          const t = i % T;
          expect(value).toBeLessThanOrEqual(1.001 * slope ** n * binomial(t, n) * start + rounding);
        });
      });
      const norms = error.map((e) => Math.hypot(...e));
      expect(norms.at(-1)).toBeLessThan(1e-5);
      // Superlinear: the factor itself falls. It is told above the rounding.
      const factors = norms.slice(1).map((value, n) => value / norms[n]!);
      const told = factors.filter((_, n) => norms[n + 1]! > 1e-4 * Math.max(...exact.map(Math.abs)));
      expect(told.length).toBeGreaterThan(2);
      expect(told.at(-1)).toBeLessThan(told[1]!);
    }
  });

  it('is solved by every segmentation, guess, cache, number of iterations in a graph, and window', () => {
    const graphs = compileCausalMap(tanhToy);
    const z = noise([B, T, 1]);
    const slope = 0.4;
    const exact = Float32Array.from(tanhSequential(host(z), T, slope));
    for (const guess of ['z', 'zero'] as const) {
      const p = problem({ slope: tf.scalar(slope) }, z, guess);
      for (const segments of [1, 2, 5, T, [1, 5, 6], [7, 4, 1]])
        for (const options of [{}, { cache: 'fresh' }, { unroll: 3 }, { stopping: 'sample' }] as const) {
          const { x } = solveGsJacobi(graphs, p, { segments, iterations: T, tolerance: 1e-7, ...options });
          expectClose(x, exact, { abs: 2e-5 }, `${guess}, ${String(segments)}, ${JSON.stringify(options)}`);
        }
      for (const window of [1, 3, 4, 16])
        for (const tolerance of [0, 1e-6])
          expectClose(solveExactly(graphs, p, { window, tolerance }).x, exact, { abs: 2e-5 }, `window ${window}`);
    }
  });

  it('has one more token right after each iteration of each segment', () => {
    const graphs = compileCausalMap(tanhToy);
    const p = problem({ slope: tf.scalar(0.6) }, noise([B, T, 1]));
    const exact = tanhSequential(host(p.guess), T, 0.6);
    for (const [segments, bound] of [
      [1, 1],
      [1, 4],
      [3, 1],
      [3, 2],
    ] as const) {
      const x = host(solveGsJacobi(graphs, p, { segments, iterations: bound, tolerance: exactly }).x);
      for (let b = 0; b < B; b++) for (let t = 0; t <= bound; t++) expect(Math.abs(x[b * T + t]! - exact[b * T + t]!)).toBeLessThan(1e-5);
      // And not all of them are: the bound is what stops it.
      expect(Math.max(...x.map((value, i) => Math.abs(value - exact[i]!)))).toBeGreaterThan(1e-3);
    }
  });

  it('counts the same with several iterations in a graph, and stops at the same one', () => {
    const graphs = compileCausalMap(tanhToy);
    const p = problem({ slope: tf.scalar(0.2) }, noise([B, T, 1]));
    for (const tolerance of [1e-2, 1e-4, 0]) {
      const one = solveGsJacobi(graphs, p, { segments: 2, iterations: T, tolerance });
      for (const unroll of [2, 4, 32]) {
        const many = solveGsJacobi(graphs, p, { segments: 2, iterations: T, tolerance, unroll });
        expect(many.report).toEqual(one.report);
        expectClose(many.x, one.x, {});
      }
    }
  });
});

describe('stopping', () => {
  it('by batch uses ‖X′ - X‖ / (B·D) of the whole batch, by sample that of each', () => {
    const graphs = compileCausalMap(tanhToy);
    const [B, T] = [3, 16];
    // Samples of very different size need different numbers of iterations.
    const z = tf.mul(noise([B, T, 1]), tf.tensor3d([0.001, 1, 10], [B, 1, 1]));
    const params = { slope: tf.scalar(0.3) };
    const tolerance = 1e-4;
    const together = solveGsJacobi(graphs, problem(params, z), { segments: 2, iterations: T, tolerance, stopping: 'sample' });
    expect(new Set(together.report.segments[0]!.perSample).size).toBeGreaterThan(1);
    together.report.segments.forEach(({ iterations, perSample }) => expect(iterations).toBe(Math.max(...perSample!)));
    for (let b = 0; b < B; b++) {
      const alone = solveGsJacobi(graphs, problem(params, tf.slice(z, [b, 0, 0], [1, T, 1])), { segments: 2, iterations: T, tolerance });
      expect(together.report.segments.map(({ perSample }) => perSample![b])).toEqual(alone.report.segments.map((s) => s.iterations));
      expectClose(tf.slice(together.x, [b, 0, 0], [1, T, 1]), alone.x, { abs: 1e-6 });
    }
    const batch = solveGsJacobi(graphs, problem(params, z), { segments: 2, iterations: T, tolerance });
    batch.report.segments.forEach(({ deltas, stop }) => {
      expect(stop).toBe('tolerance');
      expect(deltas.at(-1)).toBeLessThanOrEqual(tolerance);
      expect(deltas.slice(0, -1).every((delta) => delta > tolerance)).toBe(true);
    });
    const first = iterates((onIteration) => {
      solveGsJacobi(graphs, problem(params, z), { segments: 1, iterations: 1, onIteration });
    }, z) as [Float32Array, Float32Array];
    const change = Math.hypot(...first[1].map((value, i) => value - first[0][i]!)) / B;
    const { deltas } = solveGsJacobi(graphs, problem(params, z), { segments: 1, iterations: 1 }).report.segments[0]!;
    expect(deltas[0]).toBeCloseTo(change, 5);
  });

  it('at ε = 0 needs a repeat to the bit', () => {
    const graphs = compileCausalMap(tanhToy);
    const p = problem({ slope: tf.scalar(0) }, tf.add(noise([2, 8, 1]), 1), 'zero');
    const { report } = solveGsJacobi(graphs, p, { segments: 1, iterations: 7, tolerance: 0 });
    expect(report.segments[0]).toMatchObject({ iterations: 2, stop: 'tolerance' });
  });

  it('clips all tokens of one segment, and all but token 0 of several', () => {
    const graphs = compileCausalMap(tanhToy);
    const z = tf.mul(noise([2, 8, 1]), 10);
    const p = problem({ slope: tf.scalar(1) }, z);
    for (const segments of [1, 2]) {
      const x = host(solveGsJacobi(graphs, p, { segments, iterations: 8, clamp: 3 }).x);
      const free = host(z);
      x.forEach((value, i) => {
        if (segments > 1 && i % 8 === 0) expect(value).toBe(free[i]);
        else expect(Math.abs(value)).toBeLessThanOrEqual(3);
      });
      expect(x.some((value) => Math.abs(value) === 3)).toBe(true);
    }
  });
});

describe('an overflow', () => {
  // The solution is about ln(1 + t) and tame; guesses of 100 are not: exp(100) is Infinity in float32.
  const [B, T] = [2, 12];
  const wild = (): ReturnType<typeof problem<{ slope: Tensor }>> => {
    const p = problem({ slope: tf.scalar(-0.5) }, tf.zeros([B, T, 1]));
    const start = tf.concat([tf.zeros([B, 1, 1]), tf.fill([B, T - 1, 1], 100)], 1);
    return { ...p, guess: start };
  };

  it('starts a segment anew token by token', () => {
    const graphs = compileCausalMap(expToy);
    const p = wild();
    const exact = solveExactly(graphs, { ...p, guess: tf.zeros([B, T, 1]) }, { window: 1 }).x;
    for (const segments of [1, 3, [4, 4, 3, 1]]) {
      const { x, report } = solveGsJacobi(graphs, p, { segments, iterations: 5, tolerance: exactly });
      expect(report.segments.map(({ stop }) => stop)).toContain('sequential');
      expectClose(x, exact, { abs: 1e-5 });
      expect(report.depth).toBeGreaterThanOrEqual(T - 1);
    }
    const left = solveGsJacobi(graphs, p, { segments: 1, iterations: 5, fallback: false });
    expect(left.report.segments[0]!.stop).toBe('non-finite');
  });

  it('does not spoil the exact mode', () => {
    const graphs = compileCausalMap(expToy);
    const exact = solveExactly(graphs, { ...wild(), guess: tf.zeros([B, T, 1]) }, { window: 1 }).x;
    for (const window of [1, 4, 8]) expectClose(solveExactly(graphs, wild(), { window }).x, exact, { abs: 1e-5 });
  });

  it('of the solution itself is said', () => {
    const graphs = compileCausalMap(expToy);
    const p = problem({ slope: tf.scalar(5) }, tf.ones([B, T, 1]));
    expect(() => solveExactly(graphs, p, { window: 4 })).toThrow(/solveExactly: token \d+ of the solution is not finite/);
    expect(() => solveGsJacobi(graphs, p, { segments: 2, iterations: 9 })).toThrow(/is not finite/);
  });
});

describe('the exact mode', () => {
  it('proves every token: final inputs, and a residual within the tolerance', () => {
    const graphs = compileCausalMap(tanhToy);
    const [B, T] = [2, 40];
    for (const [slope, tolerance] of [
      [0.05, 0],
      [0.05, 1e-6],
      [1, 1e-6],
    ] as const) {
      const p = problem({ slope: tf.scalar(slope) }, noise([B, T, 1]));
      const { x, report } = solveExactly(graphs, p, { window: 8, tolerance });
      const { evaluations, proof } = report;
      expect(report.depth).toBe(evaluations.length);
      expect(evaluations.reduce((sum, { accepted }) => sum + accepted, 0)).toBe(T - 1);
      // A window starts at the last final token, and no token is evaluated once it is in the cache.
      let known = 0;
      evaluations.forEach((one, i) => {
        expect(one.known).toBe(known);
        expect(one.accepted).toBeGreaterThan(0);
        for (let t = known + 1; t <= known + one.accepted; t++) expect(proof.evaluation[t]).toBe(i + 1);
        known += one.accepted;
      });
      expect(Math.max(...proof.residual)).toBeLessThanOrEqual(tolerance);
      // The same from outside: one evaluation of everything.
      const residual = host(graphs.residual(x, p));
      expect(Math.max(...residual)).toBeLessThan(tolerance + 1e-6 * Math.max(1, ...host(x).map(Math.abs)));
      proof.confirmed.forEach((one, t) => {
        if (one === 0) for (let b = 0; b < B; b++) expect(proof.residual[b * T + t]).toBe(0);
      });
    }
  });

  it('needs fewer evaluations for an easier map', () => {
    const graphs = compileCausalMap(tanhToy);
    const z = noise([1, 64, 1]);
    const depth = (slope: number): number => solveExactly(graphs, problem({ slope: tf.scalar(slope) }, z), { window: 16 }).report.depth;
    const [none, easy, hard] = [depth(0), depth(0.01), depth(0.2)];
    expect(none).toBeLessThanOrEqual(8);
    expect(easy).toBeGreaterThan(none);
    expect(hard).toBeGreaterThan(easy);
    expect(hard).toBeLessThanOrEqual(63);
  });
});

describe('memory', () => {
  it('is given back', async () => {
    const graphs = compileCausalMap(tanhToy);
    const p = problem({ slope: tf.scalar(0.3) }, noise([2, 12, 1]));
    for (const options of [{}, { cache: 'fresh' }, { stopping: 'sample' }, { unroll: 2 }] as const)
      await expectNoLeak(() => solveGsJacobi(graphs, p, { segments: 3, iterations: 4, ...options }).x);
    await expectNoLeak(() => solveExactly(graphs, p, { window: 4 }).x);
    const wild = {
      ...problem({ slope: tf.scalar(-0.5) }, tf.zeros([1, 6, 1])),
      guess: tf.concat([tf.zeros([1, 1, 1]), tf.fill([1, 5, 1], 100)], 1),
    };
    const overflowing = compileCausalMap(expToy);
    await expectNoLeak(() => solveGsJacobi(overflowing, wild, { segments: 2, iterations: 3 }).x);
    expect(p.guess.isDisposed).toBe(false);
    graphs.dispose();
    expect(graphs.graphs).toBe(0);
  });
});

describe('bad input', () => {
  it('is refused in one sentence', () => {
    const graphs = compileCausalMap(tanhToy);
    const p = problem({ slope: tf.scalar(0.3) }, noise([2, 12, 1]));
    const solve =
      (options: object, q: object = {}) =>
      () =>
        solveGsJacobi(graphs, { ...p, ...q }, { segments: 1, iterations: 3, ...options });
    expect(solve({ segments: [4, 4] })).toThrow('solveGsJacobi: segments: wanted sizes of at least 1 that add up to 12 tokens, got [4, 4]');
    expect(solve({ segments: [4, 8, 0] })).toThrow(/add up to 12 tokens, got \[4, 8, 0\]/);
    expect(solve({ segments: [] })).toThrow(/add up to 12 tokens, got \[\]/);
    expect(solve({ segments: [6.5, 5.5] })).toThrow(/got \[6.5, 5.5\]/);
    expect(solve({ segments: 13 })).toThrow('solveGsJacobi: segments: wanted an integer at least 1 and at most 12, got 13');
    expect(solve({ segments: '3' })).toThrow('wanted a number or a list of sizes, got string');
    expect(solve({ iterations: 0 })).toThrow('solveGsJacobi: iterations: wanted an integer at least 1, got 0');
    expect(solve({ tolerance: NaN })).toThrow(/tolerance: wanted a finite number, got NaN/);
    expect(solve({ clamp: 0 })).toThrow(/clamp: wanted a finite number above 0, got 0/);
    expect(solve({ stopping: 'row' })).toThrow("stopping: wanted 'batch' or 'sample', got 'row'");
    expect(solve({ cache: 'old' })).toThrow("cache: wanted 'stale' or 'fresh', got 'old'");
    expect(solve({ unroll: 0 })).toThrow(/unroll: wanted an integer at least 1, got 0/);
    expect(solve({}, { guess: tf.zeros([2, 12]) })).toThrow('solveGsJacobi: guess: wanted shape [B, T, D], got [2, 12]');
    expect(solve({}, { inputs: { drive: tf.zeros([3, 12, 1]) } })).toThrow('inputs: wanted leaves [1 or 2, 12, …], got [3, 12, 1]');
    expect(() => solveExactly(graphs, p, { window: 0 })).toThrow('solveExactly: window: wanted an integer at least 1, got 0');
    expect(() => solveExactly(graphs, p, { window: 2, tolerance: -1 })).toThrow(
      'solveExactly: tolerance: wanted a finite number at least 0, got -1',
    );
    expect(() => compileCausalMap({ ...tanhToy, pastAxis: 0 })).toThrow('pastAxis: wanted a whole number of at least 1, got 0');
    disposeTree(p.inputs);
  });
});
