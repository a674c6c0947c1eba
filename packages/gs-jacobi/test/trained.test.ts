import { sequentialSampler, tokenSizes } from '@atelier/tarflow';
import { Rng, tf, useEngine } from '@atelier/tensor';
import { expectClose, golden } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { everywhere, gsJacobiSampler } from '../src/index.ts';
import { loadModel } from './parity/model.ts';

beforeAll(async () => {
  await useEngine();
});

const all = golden('gs-jacobi');
const trained = all.files('weights_').filter((name) => 'train_steps' in all.load(name).metadata);

describe('a trained model', () => {
  it('is there', () => expect(trained.length).toBeGreaterThan(0));

  for (const name of trained)
    it(`${name}: without clipping the iteration converges to the sequential sample, and the exact mode proves it`, () => {
      const { model, config } = loadModel(all.load(name));
      const { T, D } = tokenSizes(config);
      const noise = new Rng('trained').normal([3, T, D]);
      const y = config.numClasses > 0 ? { y: tf.tensor1d([0, 1, -1], 'int32') } : {};
      const expected = sequentialSampler(config).sample(model, noise, y).images;
      const sampler = gsJacobiSampler(config);
      const depth: number[] = [];
      for (const plan of [
        { method: 'gs-jacobi', segments: 1, iterations: T },
        { method: 'gs-jacobi', segments: 4, iterations: T, guess: 'zero' },
      ] as const) {
        const { images, report } = sampler.sample(model, noise, { strategy: everywhere(config.blocks, plan), tolerance: 1e-6, ...y });
        expectClose(images, expected, { abs: 1e-4 }, JSON.stringify(plan));
        depth.push(report.depth);
      }
      const window = Math.ceil(T / 2);
      const { images, report } = sampler.sample(model, noise, { strategy: everywhere(config.blocks, { method: 'exact', window }), ...y });
      expectClose(images, expected, { abs: 1e-4 });
      for (const { exact } of report.blocks) expect(Math.max(...exact!.proof.residual)).toBeLessThanOrEqual(1e-6);
      depth.push(report.depth);
      for (const one of depth) expect(one).toBeLessThan(0.75 * config.blocks * (T - 1));
    });
});
