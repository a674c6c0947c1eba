import { Rng } from '@atelier/tensor';
import { describe, expect, it } from 'vitest';
import { checkerboard, gaussian, ring, twoMoons, type Density } from '../src/index.ts';

const DENSITIES: [Density, number][] = [
  [ring(), 2.2],
  [ring({ modes: 3, radius: 1, std: 0.3 }), 2.8],
  [checkerboard(), 1.6],
  [gaussian([0.7, -0.4], 0.5), 3.8],
  [twoMoons({ std: 0.1 }), 2.4],
];
const CELLS = 24;

/** Probability of each cell of a CELLS × CELLS grid over [-half, half]², by 20 × 20 midpoints a cell. */
function cellMasses(density: Density, half: number): Float64Array {
  const fine = 20 * CELLS;
  const step = (2 * half) / fine;
  const points = Float64Array.from({ length: 2 * fine * fine }, (_, i) => {
    const index = i >> 1;
    return -half + step * ((i % 2 === 0 ? index % fine : Math.floor(index / fine)) + 0.5);
  });
  const masses = new Float64Array(CELLS * CELLS);
  density.logDensity(points).forEach((logP, i) => {
    const [column, row] = [Math.floor((i % fine) / 20), Math.floor(i / fine / 20)];
    masses[row * CELLS + column]! += Math.exp(logP) * step * step;
  });
  return masses;
}

describe.each(DENSITIES)('$name', (density, half) => {
  const masses = cellMasses(density, half);

  it('has a density of integral 1', () => {
    expect(masses.reduce((sum, mass) => sum + mass, 0)).toBeCloseTo(1, 2);
  });

  it('samples what the density says (chi-square over cells)', () => {
    const n = 40_000;
    const points = density.sample(new Rng('density test'), n);
    expect(points).toHaveLength(2 * n);
    const counts = new Float64Array(CELLS * CELLS);
    let outside = 0;
    for (let i = 0; i < n; i++) {
      const [column, row] = [points[2 * i]!, points[2 * i + 1]!].map((v) => Math.floor(((v + half) / (2 * half)) * CELLS)) as [
        number,
        number,
      ];
      if (column < 0 || row < 0 || column >= CELLS || row >= CELLS) outside++;
      else counts[row * CELLS + column]!++;
    }
    expect(outside).toBeLessThan(40);
    // Cells that expect fewer than 5 are pooled: the usual condition for the chi-square approximation.
    let [statistic, cells, pooledCount, pooledMass] = [0, 0, 0, 0];
    masses.forEach((mass, i) => {
      if (mass * n < 5) {
        pooledCount += counts[i]!;
        pooledMass += mass;
      } else {
        statistic += (counts[i]! - mass * n) ** 2 / (mass * n);
        cells++;
      }
    });
    // Mean `cells`, standard deviation sqrt(2·cells); the midpoint rule at the edges of the checkerboard adds a little.
    expect(statistic).toBeLessThan(cells + 5 * Math.sqrt(2 * cells));
    expect(Math.abs(pooledCount - pooledMass * n)).toBeLessThan(5 * Math.sqrt(pooledMass * n) + 5);
  });

  it('depends on the stream alone and draws from it', () => {
    const rng = new Rng(5);
    const first = density.sample(rng, 50);
    expect(density.sample(new Rng(5), 50)).toEqual(first);
    expect(density.sample(rng, 50)).not.toEqual(first);
    expect(density.sample(rng, 0)).toHaveLength(0);
  });

  it('refuses points that are not pairs', () => {
    expect(() => density.logDensity([1, 2, 3])).toThrow(/wanted points \[n, 2\], got 3 numbers/);
  });
});

describe('the definitions', () => {
  it('ring: every point is near one of eight centres of radius 1.5, each an eighth of the time', () => {
    const n = 16_000;
    const points = ring().sample(new Rng(1), n);
    const counts = new Float64Array(8);
    let squares = 0;
    for (let i = 0; i < n; i++) {
      const k = (Math.round(Math.atan2(points[2 * i + 1]!, points[2 * i]!) / (Math.PI / 4)) + 8) % 8;
      counts[k]!++;
      squares += (points[2 * i]! - 1.5 * Math.cos((k * Math.PI) / 4)) ** 2 + (points[2 * i + 1]! - 1.5 * Math.sin((k * Math.PI) / 4)) ** 2;
    }
    expect(squares / (2 * n)).toBeCloseTo(0.01, 3);
    for (const count of counts) expect(Math.abs(count - n / 8)).toBeLessThan(5 * Math.sqrt(n / 8));
  });

  it('checkerboard: uniform density 1/4.5 on squares where ⌊a⌋ and ⌊b⌋ have the same parity, 0 elsewhere', () => {
    const board = checkerboard();
    // Squares of side 0.75 from -1.5: (a, b) in (0, 0), (-1, -1), (1, -1) are dark, (0, 1), (-2, -1), (2, 0) are not.
    expect([...board.logDensity([0.3, 0.3, -0.3, -0.3, 1.1, -0.3])].map(Math.exp)).toEqual(
      [1, 1, 1].map(() => expect.closeTo(1 / 4.5, 12)),
    );
    expect([...board.logDensity([0.3, 1.1, -1.1, -0.3, 1.6, 0.3])]).toEqual([-Infinity, -Infinity, -Infinity]);
    expect(board.logDensity(board.sample(new Rng(2), 5000)).every(Number.isFinite)).toBe(true);
  });

  it('gaussian: log density of the mean is -log 2πs²', () => {
    expect(gaussian([1, 2], 0.5).logDensity([1, 2])[0]).toBeCloseTo(-Math.log(2 * Math.PI * 0.25), 12);
  });

  it('two moons: mean 0, and with little noise every point lies on one of the half circles', () => {
    const n = 4000;
    const points = twoMoons({ std: 0.02 }).sample(new Rng(3), n);
    const mean = points.reduce((sum, v, i) => ((sum[i & 1]! += v / n), sum), [0, 0]);
    expect(Math.abs(mean[0]!)).toBeLessThan(0.06);
    expect(Math.abs(mean[1]!)).toBeLessThan(0.04);
    for (let i = 0; i < n; i++) {
      const [x, y] = [points[2 * i]! + 0.5, points[2 * i + 1]! + 0.25];
      const gap = Math.min(Math.abs(Math.hypot(x, y) - 1), Math.abs(Math.hypot(x - 1, y - 0.5) - 1));
      expect(gap).toBeLessThan(0.12);
    }
  });

  it.each([
    [() => ring({ modes: 2.5 }), /ring: modes: wanted an integer at least 1, got 2.5/],
    [() => ring({ std: 0 }), /ring: std: wanted a finite number above 0, got 0/],
    [() => ring({ radius: NaN }), /ring: radius: wanted a finite number above 0, got NaN/],
    [() => checkerboard({ scale: -1 }), /checkerboard: scale: wanted a finite number above 0, got -1/],
    [() => gaussian([0, Infinity], 1), /gaussian: wanted a mean of two finite numbers/],
    [() => gaussian([0, 0], 0), /gaussian: std: wanted a finite number above 0, got 0/],
    [() => twoMoons({ std: 0.001 }), /twoMoons: std: wanted a finite number at least 0.02, got 0.001/],
  ])('refuses bad arguments %#', (call, message) => {
    expect(call).toThrow(message);
  });
});
