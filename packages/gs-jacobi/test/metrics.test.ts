import { Rng, tf, treeMap, useEngine } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  bestGuesses,
  convergenceMetrics,
  crmShares,
  crmStack,
  everywhere,
  gsJacobiSampler,
  matrixNorm,
  meanGuesses,
  type BlockMetrics,
} from '../src/index.ts';
import { tinyModel } from './tiny-model.ts';

beforeAll(async () => {
  await useEngine();
});

/** The largest singular value by power iteration on AᵀA. */
function powerIteration(values: ArrayLike<number>, rows: number, columns: number): number {
  let v = Float64Array.from({ length: columns }, (_, j) => 1 + 0.1 * Math.sin(j));
  let norm = 0;
  for (let step = 0; step < 2000; step++) {
    const u = Float64Array.from({ length: rows }, (_, i) => v.reduce((sum, value, j) => sum + values[i * columns + j]! * value, 0));
    const w = Float64Array.from({ length: columns }, (_, j) => u.reduce((sum, value, i) => sum + values[i * columns + j]! * value, 0));
    const length = Math.hypot(...w);
    norm = Math.hypot(...u) / Math.hypot(...v);
    v = w.map((value) => value / length);
  }
  return norm;
}

describe('norms', () => {
  it('of a matrix: the spectral norm agrees with power iteration, for tall and wide matrices; unchanged when rows are reversed', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 }), fc.integer(), (rows, columns, seed) => {
        const values = new Rng(seed).normals(rows * columns);
        const spectral = matrixNorm(values, rows, columns, '2');
        expect(Math.abs(spectral / powerIteration(values, rows, columns) - 1)).toBeLessThan(1e-4);
        const reversed = Float64Array.from(
          { length: values.length },
          (_, i) => values[(rows - 1 - Math.floor(i / columns)) * columns + (i % columns)]!,
        );
        for (const kind of ['2', '1', 'fro'] as const)
          expect(matrixNorm(reversed, rows, columns, kind)).toBeCloseTo(matrixNorm(values, rows, columns, kind), 10);
        expect(matrixNorm(values, rows, columns, 'fro')).toBeGreaterThanOrEqual(spectral * (1 - 1e-12));
      }),
      { numRuns: 20 },
    );
    expect(matrixNorm([1, -2, 3, 4], 2, 2, '1')).toBe(6);
    expect(matrixNorm([3, 4], 1, 2, 'fro')).toBe(5);
    expect(matrixNorm([1, NaN], 1, 2, '2')).toBeNaN();
    expect(() => matrixNorm([1, 2, 3], 2, 2, '2')).toThrow('matrixNorm: wanted [2, 2], got 3 values');
    expect(() => matrixNorm([1], 1, 1, 'max' as '2')).toThrow("matrixNorm: kind: wanted '2', '1', 'fro', got 'max'");
  });
});

describe('the metrics', () => {
  const images = (n: number, imageSize: readonly number[]): tf.Tensor => new Rng('images').normal([n, ...imageSize, 3]);

  it('grow with the output layer as they should', () => {
    const { model, config } = tinyModel({ blocks: 1 });
    const x = images(3, config.imageSize);
    const [before] = convergenceMetrics(model, x, config);
    const scaled = treeMap((leaf, path) => (path.endsWith('proj_out.weight') ? tf.mul(leaf, 3) : leaf), model);
    const [after] = convergenceMetrics(scaled, x, config);
    expectClose([after!.scaleWeight, after!.shiftWeight], [3 * before!.scaleWeight, 3 * before!.shiftWeight], { rel: 1e-5 });
    for (const one of [before!, after!]) expect(one.crm).toBeCloseTo(one.scaledInput * one.scaleWeight + one.shiftWeight, 10);
  });

  it('of a constant conditioner are zero', () => {
    const { model, config } = tinyModel();
    const flat = treeMap((leaf, path) => (path.endsWith('proj_out.weight') ? tf.zerosLike(leaf) : leaf), model);
    for (const { igm, crm } of convergenceMetrics(flat, images(3, config.imageSize), config)) {
      expect(Math.max(igm.z, igm.zero)).toBeLessThan(1e-5);
      expect(crm).toBe(0);
    }
  });

  it('do not depend on how the images are cut into batches', () => {
    const { model, config } = tinyModel();
    const x = images(5, config.imageSize);
    const figures = (batch: number): number[] =>
      convergenceMetrics(model, x, config, { batch }).flatMap(({ igm, crm }) => [igm.z, igm.zero, crm]);
    expectClose(figures(2), figures(5), { rel: 1e-5 });
  });

  it('of a model that preserves the volume have no part of the scale', () => {
    const { model, config } = tinyModel();
    const halved = treeMap((leaf, path) => (path.includes('proj_out') ? tf.slice(leaf, [0], [12]) : leaf), model);
    for (const one of convergenceMetrics(halved, images(2, config.imageSize), { ...config, volumePreserving: true })) {
      expect(one.scaleWeight).toBe(0);
      expect(one.crm).toBe(one.shiftWeight);
    }
  });

  it('leave no tensor behind', async () => {
    const { model, config } = tinyModel();
    const x = images(3, config.imageSize);
    await expectNoLeak(() => void convergenceMetrics(model, x, config, { batch: 2 }));
    await expectNoLeak(() => meanGuesses(model, x, config, { batch: 2 }));
  });

  it('choose guesses in the order of sampling, and the blocks with more than their share', () => {
    const metrics = [
      { igm: { z: 1, zero: 2 }, crm: 1 },
      { igm: { z: 3, zero: 2 }, crm: 1 },
      { igm: { z: 2, zero: 2 }, crm: 6 },
      { igm: { z: 0, zero: 2 }, crm: 2 },
    ] as BlockMetrics[];
    expect(bestGuesses(metrics)).toEqual(['z', 'z', 'zero', 'z']);
    expect(crmShares(metrics)).toEqual([10, 10, 60, 20]);
    expect(crmStack(metrics)).toEqual([2]);
    expect(crmStack(metrics, 0.8)).toEqual([2, 3]);
    // The published shares, and what the rule makes of them.
    const published: [number[], number[]][] = [
      [[5.22, 5.63, 2.47, 10.93, 7.74, 7.35, 56.57, 4.05], [6]],
      [[6.33, 6.28, 8.16, 7.94, 9.01, 10.27, 9.36, 42.6], [7]],
      [
        [50.71, 2.42, 2.29, 3.38, 1.77, 1.33, 33.62, 4.44],
        [0, 6],
      ],
      [[74.58, 4.88, 0.72, 0.96, 4.05, 2.68, 1.62, 10.46], [0]],
    ];
    for (const [shares, stack] of published) expect(crmStack(shares.map((crm) => ({ crm }) as BlockMetrics))).toEqual(stack);
  });

  it('are refused in one sentence', () => {
    const { model, config } = tinyModel();
    const x = images(2, config.imageSize);
    expect(() => convergenceMetrics(model, tf.zeros([2, 4, 4, 3]), config)).toThrow(
      'convergenceMetrics: x: wanted shape [n=2, H=4, W=12, C=3], got [2, 4, 4, 3]',
    );
    expect(() => convergenceMetrics(model, tf.zeros([0, 4, 12, 3]), config)).toThrow(
      'convergenceMetrics: x: wanted at least one image, got none',
    );
    expect(() => convergenceMetrics(model, x, config, { norm: '3' as '2' })).toThrow(
      "convergenceMetrics: norm: wanted '2', '1' or 'fro', got '3'",
    );
    expect(() => convergenceMetrics(model, x, config, { batch: 0 })).toThrow(
      'convergenceMetrics: batch: wanted an integer at least 1, got 0',
    );
    expect(() => crmStack([], 0)).toThrow('crmStack: factor: wanted a finite number above 0, got 0');
  });
});

describe('the mean guess', () => {
  it('is exact for a constant conditioner, and for images all alike', () => {
    const { model, config, noise } = tinyModel({ classes: 2 });
    const flat = treeMap((leaf, path) => (path.endsWith('proj_out.weight') ? tf.zerosLike(leaf) : leaf), model);
    const sampler = gsJacobiSampler(config);
    const z = noise(1);
    for (const [one, y] of [
      [flat, undefined],
      [model, tf.tensor1d([1], 'int32')],
    ] as const) {
      const labels = y && { y };
      const exact = sampler.sample(one, z, { strategy: everywhere(3, { method: 'sequential' }), ...labels }).images;
      // Means over two copies of the sample itself.
      const twice = tf.concat([exact, exact], 0);
      const means = meanGuesses(one, twice, config, { batch: 1, ...(y && { y: tf.concat([y, y], 0) }) });
      const errors: number[] = [];
      const strategy = everywhere(3, { method: 'gs-jacobi', segments: 1, iterations: 1, guess: 'mean' });
      const { images, report } = sampler.sample(one, z, { strategy, means, ...labels });
      expectClose(images, exact, { abs: 2e-5 });
      errors.push(...report.blocks.map(({ segments }) => segments![0]!.deltas[0]!));
      expect(Math.max(...errors)).toBeLessThan(1e-5);
    }
  });

  it('is refused without means, or with those of another model', () => {
    const { model, config, noise } = tinyModel();
    const sampler = gsJacobiSampler(config);
    const strategy = everywhere(3, { method: 'exact', window: 4, guess: 'mean' });
    expect(() => sampler.sample(model, noise(2), { strategy })).toThrow(
      'gsJacobiSampler: means: wanted some for block 2, which starts from them, got none',
    );
    const wrong = { alpha: tf.zeros([12, 12]), mu: tf.zeros([3, 12]) };
    expect(() => sampler.sample(model, noise(2), { strategy, means: [wrong, wrong, wrong] })).toThrow(
      'means: 2.mu: wanted shape [T=12, D=12], got [3, 12]',
    );
    expect(() => meanGuesses(model, tf.zeros([1, 4, 4, 3]), config)).toThrow(
      'meanGuesses: x: wanted shape [n=1, H=4, W=12, C=3], got [1, 4, 4, 3]',
    );
  });
});
