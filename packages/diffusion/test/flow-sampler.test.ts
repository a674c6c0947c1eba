import { disposeTree, Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { integrateVelocity, uniformGrid, type Velocity } from '../src/index.ts';
import { velocitySampler } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

/** The flow z ↦ z·e^(a·t) with v = a·z, which both methods only approach. */
const networkOf =
  ({ a }: { a: Tensor }): Velocity =>
  (z) =>
    tf.mul(z, a);

describe('velocitySampler', () => {
  it.each(['euler', 'heun'] as const)('%s: whole, step by step and as a function are the same; one graph per grid', async (method) => {
    const sampler = velocitySampler(networkOf, { method });
    const [model, e, grid] = [{ a: tf.scalar(0.7) }, new Rng('flow').normal([3, 2]), uniformGrid(4)];
    const whole = sampler.sample(model, e, { grid });
    const rate = method === 'euler' ? 1 - 0.7 / 4 : 1 - 0.7 / 4 + (0.7 / 4) ** 2 / 2;
    expectClose(whole, tf.mul(e, rate ** 4), { rel: 1e-5 });
    expectClose(whole, integrateVelocity(networkOf(model), e, { grid, method }), { rel: 1e-6 });
    const trail = [...sampler.steps(model, e, { grid })];
    expect(trail.map(({ t }) => t)).toEqual([0.75, 0.5, 0.25, 0]);
    expectClose(trail.at(-1)!.z, whole, { rel: 1e-6 });
    const graphs = sampler.graphs;
    const other = { a: tf.scalar(1) };
    await expectNoLeak(() => sampler.sample(other, e, { grid }));
    expect(sampler.graphs).toBe(graphs);
    await expectNoLeak(() => {
      for (const { z } of sampler.steps(model, e, { grid })) {
        disposeTree(z);
        break;
      }
    });
    expect(() => [...sampler.steps(model, e, { grid: [0, 1] })]).toThrow('wanted at least two strictly decreasing times');
    sampler.dispose();
    expect(sampler.graphs).toBe(0);
  });
});
