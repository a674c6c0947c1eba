import { Rng, useEngine } from '@atelier/tensor';
import { expectNoLeak } from '@atelier/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { energyDistance } from '../src/index.ts';

beforeAll(() => useEngine());

type Points = Float32Array | Float64Array;

function meanDistance(a: Points, b: Points, dim: number): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += dim) {
    for (let j = 0; j < b.length; j += dim) {
      let square = 0;
      for (let k = 0; k < dim; k++) square += (a[i + k]! - b[j + k]!) ** 2;
      sum += Math.sqrt(square);
    }
  }
  return sum / ((a.length / dim) * (b.length / dim));
}
const bruteForce = (a: Points, b: Points, dim: number): number =>
  2 * meanDistance(a, b, dim) - meanDistance(a, a, dim) - meanDistance(b, b, dim);

/** Sets of n points in a dimension on either side of the change from loops to Gram matrices. */
const sets = fc
  .record({
    dim: fc.constantFrom(1, 2, 3, 8, 9, 20),
    n: fc.integer({ min: 1, max: 12 }),
    m: fc.integer({ min: 1, max: 12 }),
    seed: fc.nat(),
  })
  .map(({ dim, n, m, seed }) => ({
    dim,
    a: new Rng(seed).child('a').normals(n * dim),
    b: new Rng(seed)
      .child('b')
      .normals(m * dim)
      .map((v) => 2 * v + 1),
  }));

describe('energyDistance', () => {
  it('is 2·E|a - b| - E|a - a| - E|b - b| by all pairs', async () => {
    await fc.assert(
      fc.asyncProperty(sets, async ({ dim, a, b }) => {
        expect(Math.abs((await energyDistance(a, b, dim)) - bruteForce(a, b, dim))).toBeLessThan(2e-6 * meanDistance(a, b, dim));
      }),
      { numRuns: 60 },
    );
  });

  it('does not see the order of the arguments or a common shift, scales with the sets, is never negative', async () => {
    await fc.assert(
      fc.asyncProperty(sets, async ({ dim, a, b }) => {
        const distance = await energyDistance(a, b, dim);
        const slack = 1e-5 * (1 + meanDistance(a, b, dim));
        expect(distance).toBeGreaterThan(-slack);
        expect(Math.abs((await energyDistance(b, a, dim)) - distance)).toBeLessThan(slack);
        expect(
          Math.abs(
            (await energyDistance(
              a.map((v) => v + 3),
              b.map((v) => v + 3),
              dim,
            )) - distance,
          ),
        ).toBeLessThan(slack);
        expect(
          Math.abs(
            (await energyDistance(
              a.map((v) => 2 * v),
              b.map((v) => 2 * v),
              dim,
            )) -
              2 * distance,
          ),
        ).toBeLessThan(2 * slack);
      }),
      { numRuns: 30 },
    );
  });

  it('of two points is twice their distance, and of a set with itself 0', async () => {
    expect(await energyDistance(Float32Array.of(0, 0), Float32Array.of(3, 4), 2)).toBe(10);
    const nine = new Float32Array(9);
    nine[8] = 7;
    expect(await energyDistance(new Float32Array(9), nine, 9)).toBeCloseTo(14, 5);
    const a = new Rng(1).normals(50 * 16);
    expect(Math.abs(await energyDistance(a, a, 16))).toBeLessThan(1e-6);
  });

  it('in one dimension is twice the integral of the squared difference of the distribution functions', async () => {
    const [a, b] = [new Rng(2).normals(70), new Rng(3).normals(90).map((v) => v + 0.5)];
    const share = (set: Float32Array, x: number): number => set.filter((v) => v <= x).length / set.length;
    const knots = [...a, ...b].sort((x, y) => x - y);
    const integral = knots.slice(1).reduce((sum, x, i) => sum + (x - knots[i]!) * (share(a, knots[i]!) - share(b, knots[i]!)) ** 2, 0);
    expect(await energyDistance(a, b, 1)).toBeCloseTo(2 * integral, 9);
  });

  it('agrees between coordinates and the same coordinates padded with zeros to 784 dimensions, over several blocks of rows', async () => {
    const pad = (set: Float32Array): Float32Array =>
      Float32Array.from({ length: 392 * set.length }, (_, i) => (i % 784 < 2 ? set[2 * Math.floor(i / 784) + (i % 784)]! : 0));
    const [a, b] = [new Rng(4).normals(2 * 300), new Rng(5).normals(2 * 260).map((v) => 1.5 * v)];
    const plain = await energyDistance(a, b, 2);
    expect(Math.abs((await energyDistance(pad(a), pad(b), 784)) - plain)).toBeLessThan(2e-6);
  });

  it('leaves no tensor behind', async () => {
    const [a, b] = [new Rng(6).normals(20 * 300), new Rng(7).normals(20 * 10)];
    await expectNoLeak(() => energyDistance(a, b, 20));
  });

  const six = new Float32Array(6);
  it.each([
    [six, six, 4, 'energyDistance: a: wanted [n, 4], got 6 numbers'],
    [six, new Float32Array(0), 2, 'energyDistance: b: wanted at least 1 samples, got 0'],
    [six, Float32Array.of(0, Infinity), 2, 'energyDistance: b: wanted finite numbers, got Infinity at sample 0, coordinate 1'],
    [six, six, 1.5, 'energyDistance: a: wanted dim to be a whole number of at least 1, got 1.5'],
  ])('refuses bad arguments %#', async (a, b, dim, message) => {
    await expect(energyDistance(a, b, dim)).rejects.toThrow(message);
  });
});
