import { zipSync } from 'fflate';
import { Rng, useEngine } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  bootstrapInterval,
  classScore,
  densityCoverage,
  encodeNpz,
  encodeStatistics,
  energyDistance,
  frechetDistance,
  kernelDistance,
  parseNpz,
  parseStatistics,
  precisionRecall,
} from '../src/index.ts';

beforeAll(async () => void (await useEngine()));

/** Sets that NumPy can make again: scale·sin(1.7i + 3·cos(0.9i)) + shift in float32, i counted from 1000·seed. */
const cloud = (seed: number, n: number, dim: number, scale: number, shift: number): Float32Array =>
  Float32Array.from({ length: n * dim }, (_, k) => {
    const i = k + 1000 * seed;
    return scale * Math.sin(i * 1.7 + Math.cos(i * 0.9) * 3) + shift;
  });
const [DIM, a, b] = [5, cloud(1, 24, 5, 1, 0), cloud(2, 30, 5, 1.3, 0.4)];

describe('against numbers of NumPy in float64, from the definitions', () => {
  it('kernel distance, and its standard error by leaving out one sample after the other', async () => {
    const { value, standardError } = await kernelDistance(a, b, DIM);
    expect(value).toBeCloseTo(0.6613640972311474, 5);
    expect(standardError).toBeCloseTo(0.422154513387548, 5);
  });

  it('density, coverage, precision and recall', () => {
    expect(densityCoverage(a, b, DIM)).toEqual({ density: expect.closeTo(0.52, 12), coverage: expect.closeTo(0.9583333333333334, 12) });
    expect(precisionRecall(a, b, DIM)).toEqual({ precision: 0.6, recall: 1 });
  });

  it('class score', () => {
    const logits = Float64Array.from(a, (value) => 3 * value);
    expect(classScore(logits, DIM)).toBeCloseTo(2.0529152310794596, 10);
  });
});

describe('kernel distance', () => {
  it('is 0 on average for sets of one density, with a standard error of the size of its spread', async () => {
    const found = [];
    for (let i = 0; i < 40; i++) {
      const rng = new Rng('sets').child(i);
      found.push(await kernelDistance(rng.child('a').normals(60 * 3), rng.child('b').normals(60 * 3), 3));
    }
    const mean = found.reduce((sum, { value }) => sum + value, 0) / found.length;
    const spread = Math.sqrt(found.reduce((sum, { value }) => sum + (value - mean) ** 2, 0) / (found.length - 1));
    const told = found.reduce((sum, { standardError }) => sum + standardError, 0) / found.length;
    expect(Math.abs(mean)).toBeLessThan((3 * spread) / Math.sqrt(found.length));
    expect(told / spread).toBeGreaterThan(0.6);
    expect(told / spread).toBeLessThan(1.8);
  });

  it('refuses what does not fit', async () => {
    await expect(kernelDistance(a.subarray(0, 10), b, DIM)).rejects.toThrow('kernelDistance: a: wanted at least 3 samples, got 2');
    await expect(kernelDistance(a, b, 7)).rejects.toThrow('kernelDistance: a: wanted [n, 7], got 120 numbers');
  });
});

describe('class score', () => {
  it('is 1 where all samples are alike, and the number of classes where each is clear and all come alike', () => {
    expect(classScore(Float64Array.of(1, 2, 3, 1, 2, 3), 3)).toBeCloseTo(1, 12);
    expect(classScore(Float64Array.of(900, 0, 0, 0, 900, 0, 0, 0, 900), 3)).toBeCloseTo(3, 12);
  });
});

describe('density and coverage', () => {
  it('are near 1 for equal densities, and coverage sees samples that crowd, and both see samples far away', () => {
    const rng = new Rng('crowd');
    const [real, fake] = [rng.child('real').normals(600), rng.child('fake').normals(600)];
    const same = densityCoverage(real, fake, 2);
    expect(same.density).toBeCloseTo(1, 0);
    expect(same.coverage).toBeGreaterThan(0.9);
    const crowded = densityCoverage(real, fake.map((value) => 0.05 * value), 2); // prettier-ignore
    expect(crowded.coverage).toBeLessThan(0.3);
    expect(densityCoverage(real, fake.map((value) => value + 20), 2)).toEqual({ density: 0, coverage: 0 }); // prettier-ignore
    expect(() => densityCoverage(real, fake, 2, { k: 300 })).toThrow('densityCoverage: k: wanted a whole number from 1 to 299, got 300');
  });
});

describe('intervals by the bootstrap', () => {
  it('hold the distance of the densities for most draws of the sets, for Fréchet and energy distance', async () => {
    // N(0, 1) and N(1, 1): the Fréchet distance is 1; the energy distance is 2·E|N(1, 2)| - 2·E|N(0, 2)|.
    const truths = { frechet: 1, energy: 2 * 1.399282 - (2 * 2) / Math.sqrt(Math.PI) };
    const inside = { frechet: 0, energy: 0 };
    const rounds = 40;
    for (let i = 0; i < rounds; i++) {
      const rng = new Rng('intervals').child(i);
      const sets = [rng.child('a').normals(80), rng.child('b').normals(80).map((value) => value + 1)] as const; // prettier-ignore
      const distances = { frechet: (x: Float32Array, y: Float32Array) => frechetDistance(x, y, 1), energy: (x: Float32Array, y: Float32Array) => energyDistance(x, y, 1) }; // prettier-ignore
      for (const name of ['frechet', 'energy'] as const) {
        const { value, low, high, standardError } = await bootstrapInterval(sets, 1, distances[name] as never, rng.child(name), {
          rounds: 60,
        });
        expect(low).toBeLessThan(high);
        expect(standardError).toBeGreaterThan(0);
        expect(value).toBe(await distances[name](...sets));
        if (low <= truths[name] && truths[name] <= high) inside[name]++;
      }
    }
    // 95 % are promised; 40 draws of 80 samples may show some fewer.
    expect(inside.frechet).toBeGreaterThanOrEqual(32);
    expect(inside.energy).toBeGreaterThanOrEqual(32);
  });

  it('are the same for the same stream, and refuse what does not fit', async () => {
    const interval = () => bootstrapInterval([a, b], DIM, (x, y) => frechetDistance(x, y, DIM), new Rng('one'), { rounds: 5 });
    expect(await interval()).toEqual(await interval());
    await expect(bootstrapInterval([a], DIM, () => 1, new Rng(1), { level: 1 })).rejects.toThrow('bootstrapInterval: level');
    await expect(bootstrapInterval([a], 7, () => 1, new Rng(1))).rejects.toThrow('bootstrapInterval: set 0: wanted [n, 7]');
  });
});

describe('files of NumPy', () => {
  /** By NumPy: mu [1.5, -2], sigma (2, 0.5; 0.5, 1) in column order, n = [7] int64, f = (0 1 2; 3 4 5) float32 in column order, flag = True; compressed. */
  const file = Uint8Array.from(
    atob(
      'UEsDBC0AAAAIAAAAIQCwmMVB//////////8GABQAbXUubnB5AQAQAJAAAAAAAAAATQAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBuk2ahrqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGOpo6CrUKFAAuBjD4YQ+hGQ4AAFBLAwQtAAAACAAAACEAbSq2dv//////////CQAUAHNpZ21hLm5weQEAEACgAAAAAAAAAFAAAAAAAAAAm+wX6hsQychQxlCtnpJanFykbqWgbpNmoa6joJ6WX1RSlJgXn1+UkgoSDykqTQUKF2ckFqQCuRpGOgpGmjoKtQrkAy4GCHCAUA/sUekP9gBQSwMELQAAAAgAAAAhALmTe5j//////////wUAFABuLm5weQEAEACIAAAAAAAAAEgAAAAAAAAAm+wX6hsQychQxlCtnpJanFykbqWgbpNpoa6joJ6WX1RSlJgXn1+UkgoSd0vMKU4FihdnJBakAvkahjqaOgq1ChQALnYGCAAAUEsDBC0AAAAIAAAAIQDOLODT//////////8FABQAZi5ucHkBABAAmAAAAAAAAABWAAAAAAAAAJvsF+obEMnIUMZQrZ6SWpxcpG6loG6TZqKuo6Cell9UUpSYF59flJIKEg8pKk0FChdnJBakArkaRjoKxpo6CrUK5AMuBjBwcGBgaLAHYgcQh4FhgQMAUEsDBC0AAAAIAAAAIQCCLfjT//////////8IABQAZmxhZy5ucHkBABAAgQAAAAAAAABDAAAAAAAAAJvsF+obEMnIUMZQrZ6SWpxcpG6loF6TZKiuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5Gpo6CrUKFAEuRgBQSwECLQMtAAAACAAAACEAsJjFQU0AAACQAAAABgAAAAAAAAAAAAAAgAEAAAAAbXUubnB5UEsBAi0DLQAAAAgAAAAhAG0qtnZQAAAAoAAAAAkAAAAAAAAAAAAAAIABhQAAAHNpZ21hLm5weVBLAQItAy0AAAAIAAAAIQC5k3uYSAAAAIgAAAAFAAAAAAAAAAAAAACAARABAABuLm5weVBLAQItAy0AAAAIAAAAIQDOLODTVgAAAJgAAAAFAAAAAAAAAAAAAACAAY8BAABmLm5weVBLAQItAy0AAAAIAAAAIQCCLfjTQwAAAIEAAAAIAAAAAAAAAAAAAACAARwCAABmbGFnLm5weVBLBQYAAAAABQAFAAcBAACZAgAAAAA=',
    ),
    (character) => character.charCodeAt(0),
  );

  it('are read as NumPy wrote them', () => {
    const { mu, sigma, n, f, flag } = parseNpz(file, 'stats.npz');
    expect(mu).toEqual({ shape: [2], data: Float64Array.of(1.5, -2) });
    expect(sigma).toEqual({ shape: [2, 2], data: Float64Array.of(2, 0.5, 0.5, 1) });
    expect(n).toEqual({ shape: [1], data: BigInt64Array.of(7n) });
    expect(f).toEqual({ shape: [2, 3], data: Float32Array.of(0, 1, 2, 3, 4, 5) });
    expect(flag).toEqual({ shape: [], data: Uint8Array.of(1) });
    expect(parseStatistics(file, 'stats.npz')).toEqual({ mean: Float64Array.of(1.5, -2), covariance: Float64Array.of(2, 0.5, 0.5, 1) });
  });

  it('are written so that they read the same, with values at a multiple of 64 bytes', () => {
    const arrays = { x: { shape: [2, 1, 3], data: Int32Array.of(1, -2, 3, 4, 5, 6) }, s: { shape: [], data: Float64Array.of(Math.PI) } };
    expect(parseNpz(encodeNpz(arrays), 'x.npz')).toEqual(arrays);
    const moments = { mean: Float64Array.of(1, 2), covariance: Float64Array.of(1, 0.25, 0.25, 3) };
    expect(parseStatistics(encodeStatistics(moments), 'x.npz')).toEqual(moments);
    expect(() => encodeNpz({ x: { shape: [3], data: Float32Array.of(1) } })).toThrow(
      "encodeNpz: array 'x': wanted 3 values for [3], got 1",
    );
  });

  it('are refused if they are damaged, or state what is not so', () => {
    const file = encodeNpz({ x: { shape: [2], data: Uint8Array.of(1, 2) } });
    const changed = (at: number, ...bytes: number[]): Uint8Array => {
      const out = file.slice();
      out.set(bytes, at < 0 ? out.length + at : at);
      return out;
    };
    const text = new TextDecoder('latin1').decode(file);
    const header = (from: string, to: string): Uint8Array => changed(text.indexOf(from), ...new TextEncoder().encode(to));
    // The last value, the size in the directory (2 GiB), and the number of files.
    expect(() => parseNpz(changed(text.indexOf('PK\u0001\u0002') - 1, 7), 'f')).toThrow("'x.npy' with a wrong checksum");
    expect(() => parseNpz(changed(text.indexOf('PK\u0001\u0002') + 24, 0, 0, 0, 128), 'f')).toThrow(
      "'x.npy' of 130 bytes, wanted 2147483648",
    );
    expect(() => parseNpz(changed(-14, 2, 0, 2), 'f')).toThrow('a directory of fewer than 2 entries');
    expect(() => parseNpz(changed(-12, 2), 'f')).toThrow('f: wanted an .npz file, which is a zip archive, got');
    expect(() => parseNpz(header('x.npy', 'y'), 'f')).toThrow("'x.npy' with two names");
  });

  it.each([
    [
      "{'descr': 'constructor', 'fortran_order': False, 'shape': (1,), }",
      "wanted a type of <f4, <f8, <i4, <i8, |u1, |b1, got 'constructor'",
    ],
    ["{'descr': '|u1', 'fortran_order': False, 'shape': (1), }", 'wanted a header with descr, fortran_order and shape'],
    ["{'descr': '|u1', 'fortran_order': False, 'shape': (1 1), }", 'wanted a header with descr, fortran_order and shape'],
    ["{'descr': '|u1', 'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", 'wanted a header with descr, fortran_order and shape'],
    ["{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", 'wanted 0 or 1 as bool, got 7 at index 0'],
    [
      `{'descr': '|u1', 'fortran_order': False, 'shape': (1,${' '.repeat(20_000)}2${' '.repeat(20_000)}x), }`,
      'wanted a header of at most 10000 bytes',
    ],
  ])('are refused with the header %.90s', (header, message) => {
    const values = [header.length & 255, header.length >> 8, ...new TextEncoder().encode(header), 7];
    const npy = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, ...values);
    expect(() => parseNpz(zipSync({ 'x.npy': npy }), 'f')).toThrow(`f: array 'x': ${message}`);
  });

  it('of statistics are refused if no set has them', () => {
    const file = (mean: number[], covariance: number[]): Uint8Array =>
      encodeStatistics({ mean: Float64Array.from(mean), covariance: Float64Array.from(covariance) });
    expect(() => parseStatistics(file([NaN], [1]), 'f')).toThrow("f: array 'mu': wanted finite numbers, got NaN at index 0");
    expect(() => parseStatistics(file([1], [-1]), 'f')).toThrow("f: array 'sigma': wanted variances >= 0, got -1 at [0, 0]");
    expect(() => parseStatistics(file([1, 2], [1, 0, 5, 1]), 'f')).toThrow("f: array 'sigma': wanted a symmetric matrix, got 5 at [1, 0]");
    expect(() => parseStatistics(encodeNpz({ toString: { shape: [1], data: Float64Array.of(1) } }), 'f')).toThrow(
      "wanted an array 'mu' of floats, got none",
    );
  });

  it('are refused with the file, the array and what is wrong', () => {
    expect(() => parseNpz(Uint8Array.of(1, 2, 3), 'bad.npz')).toThrow('bad.npz: wanted an .npz file, which is a zip archive, got');
    expect(() => parseStatistics(encodeNpz({ mu: { shape: [1], data: Float64Array.of(1) } }), 'one.npz')).toThrow(
      "one.npz: wanted an array 'sigma' of floats, got none",
    );
    const wrong = encodeNpz({ mu: { shape: [2], data: Float64Array.of(1, 2) }, sigma: { shape: [1, 1], data: Float64Array.of(1) } });
    expect(() => parseStatistics(wrong, 'two.npz')).toThrow('two.npz: wanted mu [dim] and sigma [dim, dim], got [2] and [1, 1]');
  });
});
