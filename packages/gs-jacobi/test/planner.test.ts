import { tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectNoLeak } from '@atelier/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  bestWithin,
  cheapestWithin,
  convergenceMetrics,
  everywhere,
  gsJacobiSampler,
  meanGuesses,
  paretoFront,
  planStrategy,
  type Choice,
  type GsJacobiSampler,
  type PlannerOptions,
} from '../src/index.ts';
import { sequential, tinyModel } from './tiny-model.ts';

beforeAll(async () => {
  await useEngine();
});

/** Every combination of one choice a part. */
const combinations = (parts: readonly (readonly Choice[])[]): Choice[] =>
  parts.reduce<Choice[]>(
    (sums, part) => sums.flatMap((a) => part.map((b) => ({ cost: a.cost + b.cost, squaredError: a.squaredError + b.squaredError }))),
    [{ cost: 0, squaredError: 0 }],
  );

describe('choosing one way for every part', () => {
  const choice = fc.record({ cost: fc.integer({ min: 1, max: 50 }), squaredError: fc.integer({ min: 0, max: 50 }) });
  const parts = fc.array(fc.array(choice, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 4 });

  it('finds what trying everything finds', () => {
    fc.assert(
      fc.property(parts, fc.integer({ min: 0, max: 14 }), fc.integer({ min: 1, max: 200 }), (all, error, cost) => {
        const front = paretoFront(all);
        const every = combinations(all);
        front.forEach(({ choices, ...sum }) => {
          expect(choices.reduce((total, at, i) => total + all[i]![at]!.cost, 0)).toBe(sum.cost);
          expect(choices.reduce((total, at, i) => total + all[i]![at]!.squaredError, 0)).toBe(sum.squaredError);
        });
        const within = every.filter(({ squaredError }) => squaredError <= error ** 2);
        const least = (of: (one: Choice) => number, list: readonly Choice[]): number => Math.min(...list.map(of));
        const chosen = cheapestWithin(front, error);
        if (within.length > 0) expect(chosen.cost).toBe(least((one) => one.cost, within));
        else expect(chosen.squaredError).toBe(least((one) => one.squaredError, every));
        const cheap = every.filter((one) => one.cost <= cost);
        const best = bestWithin(front, cost);
        if (cheap.length > 0) expect(best.squaredError).toBe(least((one) => one.squaredError, cheap));
        else expect(best.cost).toBe(least((one) => one.cost, every));
      }),
      { numRuns: 200 },
    );
    expect(() => paretoFront([[{ cost: 1, squaredError: 1 }], []])).toThrow('paretoFront: wanted at least one choice for part 1, got none');
  });

  it('stays near the best where there are too many sums to keep', () => {
    const part = Array.from({ length: 40 }, (_, i) => ({ cost: 1 + i + 0.37 * Math.sin(i), squaredError: 100 * 0.7 ** i }));
    const front = paretoFront(new Array(6).fill(part));
    const error = Math.sqrt(1.5);
    // Equal parts: one of these combinations of two neighbouring choices is within a step of the best.
    const chosen = cheapestWithin(front, error);
    expect(chosen.squaredError).toBeLessThanOrEqual(1.5);
    const simple = combinations(new Array(6).fill(part.slice(13, 17))).filter(({ squaredError }) => squaredError <= 1.5);
    expect(chosen.cost).toBeLessThanOrEqual(1.02 * Math.min(...simple.map(({ cost }) => cost)));
  });
});

describe('the planner', () => {
  /** A sampler with a clock that goes on by what it does: 1 for each evaluation, and a tenth for each evaluation of all tokens. */
  const timed = (sampler: GsJacobiSampler): { sampler: GsJacobiSampler; now: () => number } => {
    let time = 0;
    const invert: GsJacobiSampler['blocks']['invert'] = (...args) => {
      const out = sampler.blocks.invert(...args);
      time += out.report.depth + 0.1 * out.report.work;
      return out;
    };
    const sample = ((...args) => sampler(...args)) as GsJacobiSampler;
    const blocks = { ...sampler.blocks, invert };
    return { sampler: Object.assign(sample, { config: sampler.config, prior: sampler.prior, blocks }), now: () => time };
  };
  const world = (options: Parameters<typeof tinyModel>[0] = {}) => {
    const tiny = tinyModel({ strength: 0.3, ...options });
    const { sampler, now } = timed(gsJacobiSampler(tiny.config));
    const images = sequential(tiny, tiny.noise(6));
    const metrics = convergenceMetrics(tiny.model, images, tiny.config);
    const means = meanGuesses(tiny.model, images, tiny.config);
    return { ...tiny, sampler, now, metrics, means };
  };
  const rmse = (a: Tensor, b: Tensor): number => Math.sqrt(tf.mean(tf.squaredDifference(a, b)).dataSync()[0]!);

  it('keeps within the error that is asked for, and asks for no more work than it needs', () => {
    const { model, config, noise, sampler, now, metrics, means } = world();
    const batches = [noise(2)];
    const goals = [3e-2, 1e-3, 1e-5];
    const depth = goals.map((goal) => {
      const plan = planStrategy(sampler, model, batches, { metrics, goal: { rmse: goal }, now, options: { means } });
      expect(plan.measured.rmse).toBeLessThanOrEqual(goal);
      const { images, report } = sampler(model, batches[0]!, { strategy: plan.strategy, ...plan.options, means });
      expect(rmse(images, sequential({ model, config }, batches[0]!))).toBeCloseTo(plan.measured.rmse, 6);
      expect(plan.blocks.map(({ block }) => block)).toEqual([2, 1, 0]);
      for (const { trials } of plan.blocks) {
        expect(trials[0]).toMatchObject({ plan: { method: 'sequential' }, rmse: 0 });
        expect(trials.length).toBeGreaterThan(2);
      }
      return report.depth;
    });
    expect(depth[0]).toBeLessThan(depth[2]!);
    // Without means, on two batches, with labels that are not there: the published guesses alone.
    const plain = planStrategy(sampler, model, [noise(1), noise(1)], { metrics, goal: { rmse: 1e-3 }, now });
    expect(plain.blocks.flatMap(({ trials }) => trials).every(({ plan }) => plan.method === 'sequential' || plan.guess !== 'mean')).toBe(
      true,
    );
  });

  it('takes the least error that the time allows', () => {
    const { model, noise, sampler, now, metrics } = world();
    const plans = [1e-9, 8, 14, 1000].map((ms) => planStrategy(sampler, model, [noise(2)], { metrics, goal: { ms }, now }));
    const errors = plans.map(({ measured }) => measured.rmse);
    expect(errors[0]).toBeGreaterThan(errors[1]!);
    expect(errors[1]).toBeGreaterThan(errors[2]!);
    expect(errors[3]).toBeLessThan(1e-5);
  });

  it('plans for guided samples with labels', () => {
    const { sampler, now, ...tiny } = world({ classes: 2 });
    const options = { y: tf.tensor1d([1, 0], 'int32'), guidance: { weight: 0.5, annealed: true } };
    const images = sequential(tiny, tiny.noise(2), options);
    const metrics = convergenceMetrics(tiny.model, images, tiny.config);
    const { measured } = planStrategy(sampler, tiny.model, [tiny.noise(2)], { metrics, goal: { rmse: 1e-3 }, now, options });
    expect(measured.rmse).toBeLessThanOrEqual(1e-3);
  });

  it('tries many segments on the stack alone', () => {
    const { model, noise, sampler, now, metrics } = world();
    const hard = metrics.map((one, k) => ({ ...one, crm: k === 1 ? 100 : 1 }));
    const plan = planStrategy(sampler, model, [noise(1)], {
      metrics: hard,
      goal: { rmse: 1e-4 },
      now,
      segments: { stack: [1, 3], others: [1] },
    });
    const tried = plan.blocks.map(({ trials }) => new Set(trials.flatMap((t) => (t.plan.method === 'gs-jacobi' ? [t.plan.segments] : []))));
    expect(tried.map((counts) => [...counts])).toEqual([[1], [1, 3], [1]]);
  });

  it('leaves no tensor behind and refuses what does not fit', async () => {
    const { model, noise, sampler, now, metrics, means } = world();
    const batch = noise(1);
    const plan = (options: Partial<PlannerOptions>, batches = [batch]) =>
      planStrategy(sampler, model, batches, { metrics, goal: { rmse: 1e-2 }, now, ...options });
    await expectNoLeak(() => void plan({ options: { means } }), 1);
    expect(() => plan({}, [])).toThrow('planStrategy: noise: wanted at least one batch, got none');
    expect(() => plan({ metrics: metrics.slice(1) })).toThrow('planStrategy: metrics: wanted those of 3 blocks, got 2');
    expect(() => plan({ goal: {} as { ms: number } })).toThrow('planStrategy: goal: wanted either rmse or ms, got {}');
    expect(() => plan({ goal: { rmse: 1, ms: 2 } })).toThrow('wanted either rmse or ms, got {"rmse":1,"ms":2}');
    expect(() => plan({ goal: { rmse: 0 } })).toThrow('planStrategy: goal: rmse: wanted a finite number above 0, got 0');
    expect(() => plan({ margin: 1 })).toThrow('planStrategy: margin: wanted a finite number at least 0 and below 1, got 1');
    expect(() => plan({}, [tf.zeros([1, 3, 12])])).toThrow('wanted shape [B=1, T=12, D=12], got [1, 3, 12]');
    expect(() => plan({ options: { y: tf.zeros([1], 'int32') } })).toThrow('wanted no labels for a model without classes');
  });

  it('gives a strategy that the sampler takes as it is', () => {
    const { model, noise, sampler, now, metrics } = world();
    const { strategy } = planStrategy(sampler, model, [noise(1)], { metrics, goal: { rmse: 1e-3 }, now });
    expect(JSON.parse(JSON.stringify(strategy))).toEqual(strategy);
    expect(strategy).toHaveLength(everywhere(3, { method: 'sequential' }).length);
  });
});
