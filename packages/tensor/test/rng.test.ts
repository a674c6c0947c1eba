import { beforeAll, describe, expect, it } from 'vitest';
import { Rng, useEngine, type RngState } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

/** Largest distance between the empirical distribution and `cdf`, times √n: above 1.95 with probability 0.001 if the sample is from it. */
function kolmogorovSmirnov(sample: Float32Array, cdf: (x: number) => number): number {
  const sorted = sample.slice().sort();
  let worst = 0;
  sorted.forEach((x, i) => {
    worst = Math.max(worst, cdf(x) - i / sorted.length, (i + 1) / sorted.length - cdf(x));
  });
  return worst * Math.sqrt(sorted.length);
}

/** (χ² - k) / √(2k) of counts that should all be equal, k the degrees of freedom: about standard normal for many cells. */
function chiSquareScore(counts: readonly number[]): number {
  const expected = counts.reduce((a, b) => a + b) / counts.length;
  const chi = counts.reduce((sum, c) => sum + (c - expected) ** 2 / expected, 0);
  const k = counts.length - 1;
  return (chi - k) / Math.sqrt(2 * k);
}

/** Normal distribution function, error below 1.5e-7 (Abramowitz and Stegun 7.1.26). */
function normalCdf(x: number): number {
  const z = Math.abs(x) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * z);
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * Math.exp(-z * z);
  return x < 0 ? tail / 2 : 1 - tail / 2;
}

const mean = (x: ArrayLike<number>, f: (v: number) => number = (v) => v): number => Array.from(x, f).reduce((a, b) => a + b, 0) / x.length;

function correlation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const [ma, mb] = [mean(a), mean(b)];
  const product = mean(Array.from(a, (x, i) => (x - ma) * (b[i]! - mb)));
  return product / Math.sqrt(mean(a, (x) => (x - ma) ** 2) * mean(b, (x) => (x - mb) ** 2));
}

describe('Rng: the numbers', () => {
  it('are fixed: a change of these numbers would break every recorded run', () => {
    expect([...new Rng(0).uniforms(4)]).toEqual([0.23848319053649902, 0.07874608039855957, 0.6850794553756714, 0.7460523843765259]);
    expect([...new Rng('atelier').normals(4)]).toEqual([-0.467168927192688, -1.0705904960632324, 0.3435063362121582, 0.09019380062818527]);
    expect([...new Rng(7).child('noise').child(3).integers(4, -5, 1000)]).toEqual([846, 461, 171, 766]);
    expect([...new Rng(7).permutation(8)]).toEqual([5, 2, 1, 0, 3, 6, 4, 7]);
  });

  it('do not depend on how draws are split', () => {
    const whole = new Rng(3).normals(5000);
    const rng = new Rng(3);
    const parts = [1, 2, 0, 3, 61, 64, 1020, 1024, 1025, 1800].map((n) => rng.normals(n));
    expect(parts.flatMap((part) => [...part])).toEqual([...whole]);
    const single = new Rng(3);
    expect(Array.from({ length: 200 }, () => single.normals(1)[0])).toEqual([...whole.subarray(0, 200)]);
  });

  it('take a number as its decimal text, and only that', () => {
    expect(new Rng(12).uniforms(3)).toEqual(new Rng('12').uniforms(3));
    expect(new Rng(1).child(2).uniforms(3)).toEqual(new Rng(1).child('2').uniforms(3));
    expect(new Rng(-1).uniforms(3)).not.toEqual(new Rng(1).uniforms(3));
    expect(new Rng(2 ** 53 - 1).uniforms(3)).not.toEqual(new Rng(2 ** 53 - 2).uniforms(3));
  });
});

describe('Rng: the distributions', () => {
  const n = 100_000;

  it('uniforms are uniform in [0, 1)', () => {
    const x = new Rng('uniforms').uniforms(n);
    expect(x.every((v) => v >= 0 && v < 1)).toBe(true);
    expect(Math.abs(mean(x) - 1 / 2)).toBeLessThan(4 * Math.sqrt(1 / 12 / n));
    expect(Math.abs(mean(x, (v) => (v - 1 / 2) ** 2) - 1 / 12)).toBeLessThan(4 * Math.sqrt(1 / 180 / n));
    expect(kolmogorovSmirnov(x, (v) => v)).toBeLessThan(1.95);
    // Low bits too: the 2^-24 digits of the draws in 64 cells.
    const cells = new Array<number>(64).fill(0);
    for (const v of x) cells[(v * 2 ** 24) % 64]!++;
    expect(Math.abs(chiSquareScore(cells))).toBeLessThan(4);
  });

  it('successive uniforms are independent: pairs fill the unit square evenly', () => {
    const x = new Rng('pairs').uniforms(n);
    const cells = new Array<number>(256).fill(0);
    for (let i = 0; i < n; i += 2) cells[16 * Math.floor(16 * x[i]!) + Math.floor(16 * x[i + 1]!)]!++;
    expect(Math.abs(chiSquareScore(cells))).toBeLessThan(4);
    for (const lag of [1, 2, 4, 1024])
      expect(Math.abs(correlation(x.subarray(lag), x.subarray(0, n - lag)))).toBeLessThan(4 / Math.sqrt(n - lag));
  });

  it('normals have the moments, the distribution and the tail of the standard normal', () => {
    const x = new Rng('normals').normals(4 * n);
    const samples = x.length;
    expect(Math.abs(mean(x))).toBeLessThan(4 / Math.sqrt(samples));
    expect(Math.abs(mean(x, (v) => v * v) - 1)).toBeLessThan(4 * Math.sqrt(2 / samples));
    expect(Math.abs(mean(x, (v) => v ** 3))).toBeLessThan(4 * Math.sqrt(15 / samples));
    expect(Math.abs(mean(x, (v) => v ** 4) - 3)).toBeLessThan(4 * Math.sqrt(96 / samples));
    expect(kolmogorovSmirnov(x, normalCdf)).toBeLessThan(1.95);
    // Beyond the ziggurat's last edge, where another algorithm draws: P(|x| > 3.4426) = 5.7609e-4, and P(|x| > 4) = 6.3342e-5.
    for (const [edge, probability] of [
      [3.442619855899, 5.7609e-4],
      [4, 6.3342e-5],
    ] as const) {
      const beyond = x.filter((v) => Math.abs(v) > edge).length;
      expect(Math.abs(beyond - probability * samples)).toBeLessThan(4 * Math.sqrt(probability * samples));
    }
    expect(Math.abs(x.filter((v) => v < 0).length - samples / 2)).toBeLessThan(4 * Math.sqrt(samples / 4));
    expect(Math.abs(correlation(x.subarray(1), x.subarray(0, samples - 1)))).toBeLessThan(4 / Math.sqrt(samples));
  });

  it('integers are uniform in [low, high), also where 2^32 is not a multiple of the range', () => {
    const counts = new Array<number>(7).fill(0);
    for (const v of new Rng('integers').integers(n, -3, 4)) counts[v + 3]!++;
    expect(Math.abs(chiSquareScore(counts))).toBeLessThan(4);
    // With a range of 3·2^30 a bare remainder would fall in the first third twice as often as in each of the others.
    const thirds = [0, 0, 0];
    for (const v of new Rng('range').integers(n, -(2 ** 31), 2 ** 30)) thirds[Math.floor((v + 2 ** 31) / 2 ** 30)]!++;
    expect(Math.abs(chiSquareScore(thirds))).toBeLessThan(4);
    expect([...new Rng(0).integers(3, 5, 6)]).toEqual([5, 5, 5]);
    expect(new Rng(0).integers(1000, -(2 ** 31), 2 ** 31).some((v) => v < -1e9)).toBe(true);
  });

  it('permutations are permutations, each of the 24 of four items as often as the others', () => {
    expect([...new Rng(1).permutation(1000)].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    const rng = new Rng('permutations');
    const counts = new Map<string, number>();
    for (let i = 0; i < 24_000; i++) {
      const order = rng.permutation(4).join();
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    expect(Math.abs(chiSquareScore([...counts.values()]))).toBeLessThan(4);
    expect([...new Rng(1).permutation(1)]).toEqual([0]);
    expect([...new Rng(1).permutation(0)]).toEqual([]);
  });
});

describe('Rng: children', () => {
  it('depend on the seed and the path of names only, not on what was drawn', () => {
    const fresh = new Rng(5).child('data').child(2).normals(10);
    const parent = new Rng(5);
    parent.normals(777);
    const middle = parent.child('data');
    middle.uniforms(3);
    expect(middle.child(2).normals(10)).toEqual(fresh);
    const before = new Rng(5);
    before.normals(777);
    expect(parent.normals(5)).toEqual(before.normals(5));
  });

  it('are unlike their parent and each other', () => {
    const root = new Rng(5);
    const streams = [
      root,
      root.child('a'),
      root.child('b'),
      root.child('a').child('b'),
      root.child('b').child('a'),
      root.child('ab'),
      new Rng(6),
      root.child(0),
      root.child(1),
    ];
    const draws = streams.map((stream) => stream.normals(20_000));
    draws.forEach((a, i) => {
      draws.slice(0, i).forEach((b) => expect(Math.abs(correlation(a, b))).toBeLessThan(4.5 / Math.sqrt(20_000)));
    });
    // The first draw of many children is itself a uniform sample.
    const firsts = Float32Array.from({ length: 20_000 }, (_, i) => root.child(i).uniforms(1)[0]!);
    expect(kolmogorovSmirnov(firsts, (v) => v)).toBeLessThan(1.95);
  });
});

describe('Rng: save and restore', () => {
  it.each([0, 1, 2, 3, 5, 63, 64, 333, 1019, 1021, 4096])('goes on exactly after %i normals', (drawn) => {
    const rng = new Rng(9).child('stream');
    rng.normals(drawn);
    const saved: RngState = JSON.parse(JSON.stringify(rng.state()));
    const rest = [rng.normals(7), rng.uniforms(1025), rng.integers(3, 0, 10), rng.permutation(5), rng.normals(1500)];
    const again = Rng.restore(saved);
    expect(again.state()).toEqual(saved);
    expect([again.normals(7), again.uniforms(1025), again.integers(3, 0, 10), again.permutation(5), again.normals(1500)]).toEqual(rest);
    expect(again.child('below').uniforms(3)).toEqual(new Rng(9).child('stream').child('below').uniforms(3));
  });

  it('keeps a position beyond 2^32 words', () => {
    const saved = { ...new Rng(9).state(), position: 2 ** 40 + 3 };
    const rng = Rng.restore(saved);
    expect(rng.state().position).toBe(2 ** 40 + 3);
    rng.uniforms(10);
    expect(rng.state().position).toBe(2 ** 40 + 13);
  });

  it('does not change when a state that it returned is changed', () => {
    const rng = new Rng(9);
    rng.state().key[0] = 1;
    expect(rng.state()).toEqual(new Rng(9).state());
  });

  it('refuses what is not a state', () => {
    const good = new Rng(1).state();
    expect(() => Rng.restore(null as never)).toThrow("Rng.restore: wanted algorithm 'threefry4x32-20', got undefined");
    expect(() => Rng.restore({ ...good, algorithm: 'pcg' as never })).toThrow('wanted algorithm \'threefry4x32-20\', got "pcg"');
    expect(() => Rng.restore({ ...good, key: [1, 2, 3] as never })).toThrow('wanted a key of four whole numbers below 2^32, got [1,2,3]');
    expect(() => Rng.restore({ ...good, key: [1, 2, 3, 2 ** 32] })).toThrow('wanted a key of four');
    for (const position of [-1, 0.5, NaN, '3', undefined]) {
      expect(() => Rng.restore({ ...good, position: position as never })).toThrow('wanted a position that is a whole number >= 0');
    }
  });
});

describe('Rng: tensors', () => {
  it('have the shape asked for and the values of the plain draws', async () => {
    const x = new Rng(4).normal([2, 3, 5]);
    expect(x.shape).toEqual([2, 3, 5]);
    expect(x.dtype).toBe('float32');
    expect(await x.data()).toEqual(new Rng(4).normals(30));
    const u = new Rng(4).uniform([3, 2], -2, 6);
    expect(u.shape).toEqual([3, 2]);
    expect(Array.from(await u.data())).toEqual(Array.from(new Rng(4).uniforms(6), (v) => Math.fround(-2 + 8 * v)));
    expect(new Rng(4).uniform([]).shape).toEqual([]);
    expect(new Rng(4).normal([0, 3]).size).toBe(0);
  });

  it('exclude the upper end even if rounding would reach it', async () => {
    const high = 1 + 2 ** -22;
    const x = await new Rng(4).uniform([1000], 1, high).data();
    expect(x.every((v) => v >= 1 && v < high)).toBe(true);
    expect(new Set(x)).toEqual(new Set([1, 1 + 2 ** -23]));
  });
});

describe('Rng: refusals', () => {
  const rng = new Rng(0);
  it.each<[string, () => unknown, string]>([
    [
      'no seed',
      () => new Rng(undefined as never),
      'Rng: wanted a whole number or a text with at least one character as seed, got undefined',
    ],
    ['an empty seed', () => new Rng(''), "as seed, got ''"],
    ['a fraction as seed', () => new Rng(0.5), 'as seed, got 0.5'],
    ['NaN as seed', () => new Rng(NaN), 'as seed, got NaN'],
    ['a seed past 2^53', () => new Rng(2 ** 53), 'as seed, got 9007199254740992'],
    ['an empty name', () => rng.child(''), "Rng.child: wanted a whole number or a text with at least one character as name, got ''"],
    ['a negative count', () => rng.uniforms(-1), 'Rng.uniforms: wanted a whole number n >= 0, got -1'],
    ['a fractional count', () => rng.normals(1.5), 'Rng.normals: wanted a whole number n >= 0, got 1.5'],
    ['no count', () => rng.permutation(undefined as never), 'Rng.permutation: wanted a whole number n >= 0, got undefined'],
    ['an empty range', () => rng.integers(1, 3, 3), 'Rng.integers: wanted whole numbers -2^31 <= low < high <= 2^31, got low 3, high 3'],
    ['a range beyond int32', () => rng.integers(1, 0, 2 ** 31 + 1), 'got low 0, high 2147483649'],
    ['a fractional end', () => rng.integers(1, 0, 1.5), 'got low 0, high 1.5'],
    ['a shape that is no list', () => rng.normal(3 as never), 'Rng.normal: wanted a shape of whole numbers >= 0, got 3'],
    ['a negative size', () => rng.uniform([2, -1]), 'Rng.uniform: wanted a shape of whole numbers >= 0, got [2,-1]'],
    ['an interval of no width', () => rng.uniform([1], 1, 1), 'Rng.uniform: wanted finite low < high, got low 1, high 1'],
    ['ends equal as float32', () => rng.uniform([1], 1, 1 + 1e-9), 'Rng.uniform: wanted finite low < high'],
    ['an infinite end', () => rng.uniform([1], 0, Infinity), 'got low 0, high Infinity'],
  ])('%s', (_, act, message) => {
    expect(act).toThrow(message);
  });
});
