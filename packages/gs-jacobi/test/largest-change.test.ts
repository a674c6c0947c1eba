import { tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { compileCausalMap, solveExactly, solveGsJacobi } from '../src/index.ts';
import { noise, problem, tanhToy } from './toys.ts';

beforeAll(async () => {
  await useEngine();
});

const exactly = -1;
const host = (x: Tensor): Float32Array => x.dataSync() as Float32Array;

describe('a largest change', () => {
  const [B, T] = [3, 12];
  // The second sample is far from its guess, the others are not.
  const z = () => tf.mul(noise([B, T, 1]), tf.tensor3d([0.01, 3, 0.1], [B, 1, 1]));
  const largestChange = 1e-3;

  it.each([1, 3])('makes every one of %i segments iterate on beyond the bound, until no sample changes more', (count) => {
    const graphs = compileCausalMap(tanhToy);
    const p = problem({ slope: tf.scalar(0.5) }, z());
    const fixed = { segments: count, iterations: 1, tolerance: exactly, unroll: 4 };
    const few = solveGsJacobi(graphs, p, fixed).report.segments;
    expect(few.some(({ changes }) => Math.max(...changes) > largestChange)).toBe(true);
    const iterated: Float32Array[][] = [];
    const { x, report } = solveGsJacobi(graphs, p, {
      ...fixed,
      largestChange,
      onIteration: ({ segment, x: iterate }) => void (iterated[segment] ??= [host(p.guess).slice()]).push(host(iterate).slice()),
    });
    for (const [i, { iterations, changes, stop, size, first }] of report.segments.entries()) {
      if (stop === 'tolerance') expect(Math.max(...changes)).toBeLessThanOrEqual(largestChange);
      else expect([stop, iterations]).toEqual(['exact', Math.min(size, T - 1 - first)]);
      // The changes are those of the last two iterates, over all tokens of the sequence.
      const [before, after] = iterated[i]!.slice(-2);
      if (i > 0 && iterations === 1) continue;
      const expected = Array.from({ length: B }, (_, b) => {
        const rows = Array.from({ length: T }, (__, t) => (after![b * T + t]! - before![b * T + t]!) ** 2);
        return Math.sqrt(rows.reduce((sum, one) => sum + one, 0) / T);
      });
      expectClose(Float32Array.from(changes), Float32Array.from(expected), { abs: 1e-6 });
    }
    expect(report.depth).toBeGreaterThan(few.length);
    const exact = solveExactly(graphs, p, { window: 1, tolerance: 0 }).x;
    const furthest = tf.max(tf.abs(tf.sub(x, exact))).dataSync()[0]!;
    expect(furthest).toBeLessThan(tf.max(tf.abs(tf.sub(solveGsJacobi(graphs, p, fixed).x, exact))).dataSync()[0]! / 10);
  });

  it('that no iteration keeps ends where the segment is exact', () => {
    const graphs = compileCausalMap(tanhToy);
    const p = problem({ slope: tf.scalar(0.5) }, z());
    const { report } = solveGsJacobi(graphs, p, { segments: 1, iterations: 2, tolerance: exactly, largestChange: 1e-30 });
    expect(report.segments).toMatchObject([{ iterations: T - 1, stop: 'exact' }]);
    const enough = solveGsJacobi(graphs, p, { segments: 1, iterations: 2, tolerance: exactly, largestChange: 1e3 });
    expect(enough.report.segments).toMatchObject([{ iterations: 2, stop: 'tolerance' }]);
  });

  it('goes with neither clipping nor stopping by sample', () => {
    const graphs = compileCausalMap(tanhToy);
    const p = problem({ slope: tf.scalar(0.5) }, z());
    const solve = (options: object) => () => solveGsJacobi(graphs, p, { segments: 1, iterations: 2, largestChange: 1, ...options });
    expect(solve({ largestChange: 0 })).toThrow('solveGsJacobi: largestChange: wanted a finite number above 0, got 0');
    for (const options of [{ clamp: 3 }, { stopping: 'sample' }])
      expect(solve(options)).toThrow('solveGsJacobi: largestChange: wanted neither clamp nor stopping by sample with it');
  });
});
