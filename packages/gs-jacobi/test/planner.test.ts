import { tokenSizes } from '@atelier/tarflow';
import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
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
  type Cost,
  type GsJacobiSampler,
  type Plan,
  type PlannerOptions,
  type Strategy,
  totalCost,
  type BlockReport,
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

  it('finds the same combinations as an exhaustive search', () => {
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

/** What a run takes by the clock of a test. */
type Clock = (report: Cost, what: { whole: boolean; sequential: boolean }) => number;
/** 1 for each evaluation, and a tenth for each evaluation of all tokens: iterations pay. */
const wide: Clock = ({ depth, work }) => depth + 0.1 * work;

/** A sampler with a clock that goes on by what it does. */
function timed(sampler: GsJacobiSampler, clock: Clock): { sampler: GsJacobiSampler; now: () => number } {
  let time = 0;
  const invert: GsJacobiSampler['blocks']['invert'] = (...args) => {
    const out = sampler.blocks.invert(...args);
    time += clock(out.report, { whole: false, sequential: out.report.plan.method === 'sequential' });
    return out;
  };
  const sample: GsJacobiSampler['sample'] = (...args) => {
    const out = sampler.sample(...args);
    time += clock(out.report, { whole: true, sequential: out.report.blocks.every(({ plan }) => plan.method === 'sequential') });
    return out;
  };
  const steps: GsJacobiSampler['steps'] = function* (...args) {
    const reports: BlockReport[] = [];
    for (const step of sampler.steps(...args)) {
      reports.push(step.report);
      yield step;
    }
    const whole = { ...totalCost(reports), blocks: reports };
    time += clock(whole, { whole: true, sequential: reports.every(({ plan }) => plan.method === 'sequential') });
  };
  const blocks = { ...sampler.blocks, invert };
  return { sampler: { ...sampler, sample, steps, blocks }, now: () => time };
}

/** A model with what planning takes. The noise is that of a name, the same for every call. */
function world(options: Parameters<typeof tinyModel>[0] & { clock?: Clock } = {}) {
  const { clock = wide, ...model } = options;
  const tiny = tinyModel({ strength: 0.3, ...model });
  const { sampler, now } = timed(gsJacobiSampler(tiny.config), clock);
  const images = sequential(tiny, tiny.noise(6));
  const metrics = convergenceMetrics(tiny.model, images, tiny.config);
  const means = meanGuesses(tiny.model, images, tiny.config);
  const { T, D } = tokenSizes(tiny.config);
  const noise = (name: string, B: number): Tensor => new Rng(name).normal([B, T, D]);
  const pilots = (B: number, samples = 8): Tensor[] => Array.from({ length: Math.ceil(samples / B) }, (_, i) => noise(`pilot ${i}`, B));
  return { ...tiny, sampler, now, metrics, means, noise, pilots };
}

/** Root mean square difference of each image [B, H, W, C]. */
const errorsOf = (a: Tensor, b: Tensor): number[] => [...tf.sqrt(tf.mean(tf.squaredDifference(a, b), [1, 2, 3])).dataSync()];
const withoutLargestChanges = (strategy: Strategy): Strategy =>
  strategy.map((plan) => {
    if (plan.method !== 'gs-jacobi') return plan;
    const { largestChange: _, ...rest } = plan;
    return rest;
  });

describe('the planner', () => {
  it('keeps the requested error, and needs no more work than necessary', () => {
    const { model, config, sampler, now, metrics, means, pilots } = world();
    const batches = pilots(4);
    const goals = [3e-2, 1e-3, 1e-5];
    const depth = goals.map((goal) => {
      const plan = planStrategy(sampler, model, batches, { metrics, goal: { rmse: goal }, now, options: { means } });
      expect(plan).toMatchObject({ method: 'gs-jacobi', madeFor: { batch: 4, engine: 'ort', labelled: false } });
      const drawn = batches.map((batch) => sampler.sample(model, batch, { plan, means }));
      const errors = drawn.flatMap(({ images }, i) => errorsOf(images, sequential({ model, config }, batches[i]!)));
      expect(plan.measured.samples).toBe(8);
      expect(Math.max(...errors)).toBeCloseTo(plan.measured.worst, 6);
      expect(plan.measured.worst).toBeLessThanOrEqual(goal);
      expect(plan.measured.rmse).toBeLessThanOrEqual(plan.measured.worst);
      expect(plan.blocks.map(({ block }) => block)).toEqual([2, 1, 0]);
      for (const { trials } of plan.blocks) {
        expect(trials[0]).toMatchObject({ plan: { method: 'sequential' }, worst: 0 });
        expect(trials.length).toBeGreaterThan(2);
      }
      return drawn[0]!.report.depth;
    });
    expect(depth[0]).toBeLessThan(depth[2]!);
    // Without means only the published guesses are tried.
    const plain = planStrategy(sampler, model, pilots(1), { metrics, goal: { rmse: 1e-3 }, now });
    const trials = plain.blocks.flatMap((block) => block.trials);
    expect(trials.every(({ plan }) => plan.method === 'sequential' || plan.guess !== 'mean')).toBe(true);
  });

  it('chooses the smallest error that the time allows', () => {
    const { model, sampler, now, metrics, pilots } = world();
    const plans = [1e-9, 8, 14].map((ms) => planStrategy(sampler, model, pilots(4), { metrics, goal: { ms }, now }));
    const errors = plans.map(({ measured }) => measured.rmse);
    expect(errors[0]).toBeGreaterThan(errors[1]!);
    expect(errors[1]).toBeGreaterThan(errors[2]!);
    for (const { strategy, estimate } of plans) {
      expect(estimate).toBeUndefined();
      expect(strategy).toEqual(withoutLargestChanges(strategy));
    }
  });

  it('tries many segments only on the stack', () => {
    const { model, sampler, now, metrics, pilots } = world();
    const hard = metrics.map((one, k) => ({ ...one, crm: k === 1 ? 100 : 1 }));
    const plan = planStrategy(sampler, model, pilots(8), {
      metrics: hard,
      goal: { rmse: 1e-4 },
      now,
      segments: { stack: [1, 3], others: [1] },
    });
    const tried = plan.blocks.map(({ trials }) => new Set(trials.flatMap((t) => (t.plan.method === 'gs-jacobi' ? [t.plan.segments] : []))));
    expect(tried.map((counts) => [...counts])).toEqual([[1], [1, 3], [1]]);
  });

  it('leaves no tensor behind and refuses what does not fit', async () => {
    const { model, sampler, now, metrics, means, pilots } = world();
    const batches = pilots(8);
    const plan = (options: Partial<PlannerOptions>, on = batches) =>
      planStrategy(sampler, model, on, { metrics, goal: { rmse: 1e-2 }, now, ...options });
    await expectNoLeak(() => void plan({ options: { means } }), 1);
    expect(() => plan({}, [])).toThrow('planStrategy: noise: wanted at least one batch, got none');
    expect(() => plan({}, pilots(1).slice(1))).toThrow('planStrategy: noise: wanted at least 8 samples in all, got 7');
    expect(() => plan({}, [...batches, ...pilots(2)])).toThrow('planStrategy: noise: wanted batches of one size, got 8 and 2');
    expect(() => plan({ metrics: metrics.slice(1) })).toThrow('planStrategy: metrics: wanted those of 3 blocks, got 2');
    expect(() => plan({ goal: {} as { ms: number } })).toThrow('planStrategy: goal: wanted either rmse or ms, got {}');
    expect(() => plan({ goal: { rmse: 1, ms: 2 } })).toThrow('wanted either rmse or ms, got {"rmse":1,"ms":2}');
    expect(() => plan({ goal: { rmse: 0 } })).toThrow('planStrategy: goal: rmse: wanted a finite number above 0, got 0');
    expect(() => plan({ safety: 0.5 })).toThrow('planStrategy: safety: wanted a finite number at least 1, got 0.5');
    expect(() => plan({ pairs: 0 })).toThrow('planStrategy: pairs: wanted an integer at least 1, got 0');
    expect(() => plan({}, [tf.zeros([8, 3, 12])])).toThrow('wanted shape [B=8, T=12, D=12], got [8, 3, 12]');
    expect(() => plan({ options: { y: tf.zeros([8], 'int32') } })).toThrow('wanted no labels for a model without classes');
  });
});

describe('the promise of a plan on noise that was not seen', () => {
  // Tough blocks: with a fixed number of iterations, the errors of single samples differ by orders of magnitude.
  const tough = { strength: 0.8, imageSize: [8, 8] as [number, number] };
  const goal = 1e-3;

  it.each([1, 2, 16])(
    'holds for every sample of batches of %i, also for harder noise, where a fixed number of iterations misses it',
    (B) => {
      const { model, sampler, now, metrics, means, noise, pilots } = world(tough);
      const plan = planStrategy(sampler, model, pilots(B, 16), { metrics, goal: { rmse: goal }, now, options: { means } });
      expect(plan.method).toBe('gs-jacobi');
      const tokenByToken = { strategy: everywhere(3, { method: 'sequential' }) };
      const alone = { strategy: withoutLargestChanges(plan.strategy), means, tolerance: -1 };
      const missed: number[] = [];
      let further = 0;
      for (const scale of [1, 1.5])
        for (let i = 0; i < 32 / B; i++) {
          const batch = tf.mul(noise(`unseen ${i}`, B), scale);
          const exact = sampler.sample(model, batch, tokenByToken).images;
          const followed = sampler.sample(model, batch, { plan, means });
          expect(followed.warnings).toEqual([]);
          expect(Math.max(...errorsOf(followed.images, exact))).toBeLessThanOrEqual(goal);
          const fixed = sampler.sample(model, batch, alone);
          missed.push(...errorsOf(fixed.images, exact).filter((error) => error > goal));
          further += followed.report.depth - fixed.report.depth;
        }
      expect(missed.length).toBeGreaterThan(0);
      expect(further).toBeGreaterThan(0);
    },
  );

  it('holds with labels and guidance', () => {
    const { sampler, now, noise, pilots, ...tiny } = world({ ...tough, classes: 2 });
    const options = { y: tf.tensor1d([1, 0], 'int32'), guidance: { weight: 0.5, annealed: true, temperature: 0.8 } };
    const plan = planStrategy(sampler, tiny.model, pilots(2, 16), { metrics: tiny.metrics, goal: { rmse: goal }, now, options });
    expect(plan).toMatchObject({ method: 'gs-jacobi', madeFor: { batch: 2, labelled: true, guidance: { weight: 0.5, annealed: true } } });
    for (let i = 0; i < 8; i++) {
      const batch = noise(`unseen ${i}`, 2);
      const { images, warnings } = sampler.sample(tiny.model, batch, { plan, ...options });
      expect(warnings).toEqual([]);
      expect(Math.max(...errorsOf(images, sequential(tiny, batch, options)))).toBeLessThanOrEqual(goal);
    }
  });

  it('holds if the plan was not made for the batch: such a batch is drawn token by token', () => {
    const { sampler, now, noise, pilots, metrics, ...tiny } = world({ classes: 2 });
    const plan = planStrategy(sampler, tiny.model, pilots(2), { metrics, goal: { rmse: goal }, now });
    expect(plan.method).toBe('gs-jacobi');
    const y = tf.tensor1d([1, 0], 'int32');
    for (const [B, options, said] of [
      [3, {}, 'batches of 3 on ort, without labels, no guidance were drawn token by token'],
      [2, { y }, 'batches of 2 on ort, with labels, no guidance were drawn token by token'],
      [2, { guidance: { weight: 1, temperature: 0.5 } }, /without labels, guidance .*"weight":1.* were drawn token by token/],
    ] as const) {
      const batch = noise('other', B);
      const { images, report, warnings } = sampler.sample(tiny.model, batch, { plan, ...options });
      expectClose(images, sequential(tiny, batch, options));
      expect(report.blocks.every((block) => block.plan.method === 'sequential')).toBe(true);
      expect(warnings).toEqual([expect.stringMatching(said)]);
      expect(warnings[0]).toMatch(/^the plan was made for batches of 2 on ort, without labels, no guidance; /);
    }
    const neither = () => sampler.sample(tiny.model, noise('other', 2), {} as { plan: Plan });
    expect(neither).toThrow('gsJacobiSampler: wanted either a strategy or a plan, got neither');
  });

  it('is in a plan that is plain data', () => {
    const { model, sampler, now, metrics, noise, pilots } = world();
    const plan = planStrategy(sampler, model, pilots(2), { metrics, goal: { rmse: goal }, now, machine: 'a test' });
    expect(plan.madeFor.machine).toBe('a test');
    const read = JSON.parse(JSON.stringify(plan)) as Plan;
    expect(read).toEqual(plan);
    const batch = noise('unseen', 2);
    expectClose(sampler.sample(model, batch, { plan: read }).images, sampler.sample(model, batch, { plan }).images);
  });
});

describe('a plan is never slower than token by token', () => {
  const planned = (clock: Clock, options: Partial<PlannerOptions> = {}): Plan => {
    const { model, sampler, now, metrics, pilots } = world({ clock });
    return planStrategy(sampler, model, pilots(2), { metrics, goal: { rmse: 1e-3 }, now, ...options });
  };

  it('is sequential where arithmetic is what counts', () => {
    for (const goal of [{ rmse: 1e-3 }, { ms: 1000 }]) {
      const plan = planned(({ depth, work }) => 0.01 * depth + work, { goal });
      expect(plan).toMatchObject({ method: 'sequential', measured: { worst: 0, speedUp: { median: 1, lowerQuartile: 1 } } });
      expect(plan.strategy).toEqual(everywhere(3, { method: 'sequential' }));
    }
  });

  it('believes whole samples, not the sum of their blocks', () => {
    // Single blocks seem fast, but whole samples take as long as token by token.
    const clock: Clock = (report, { whole, sequential: alone }) => (whole && !alone ? 3 * 12 : wide(report, { whole, sequential: alone }));
    for (const goal of [{ rmse: 1e-3 }, { ms: 12 }]) {
      const plan = planned(clock, { goal });
      expect(plan.method).toBe('sequential');
      expect(plan.reason).toMatch(/^not faster: batches of 2 took 36\.0 ms, and token by token 33\.3 ms$/);
      expect(plan.strategy).toEqual(everywhere(3, { method: 'sequential' }));
      expect(plan.measured.ms).toBe(plan.measured.sequentialMs);
    }
  });

  it.each([
    [1, 'gs-jacobi'],
    [2, 'sequential'],
  ])('with %i slow pairs of 7 it is %s', (slow, method) => {
    // The last runs of all that are not token by token, but one that is drawn for its errors, are those of the pairs.
    const whole: number[] = [];
    const record: Clock = (report, what) => {
      if (what.whole && !what.sequential) whole.push(0);
      return wide(report, what);
    };
    planned(record);
    const total = whole.length;
    let run = 0;
    const clock: Clock = (report, what) => {
      if (what.whole && !what.sequential) run++;
      // Four batches are drawn once more after the pairs, where the plan is faster.
      const pair = run - (total - 4 - 7);
      return what.whole && !what.sequential && pair >= 1 && pair <= slow ? 1000 : wide(report, what);
    };
    expect(planned(clock).method).toBe(method);
  });
});
