import { tokenSizes } from '@atelier/tarflow';
import { tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { everywhere, gsJacobiSampler, type BlockPlan, type GsJacobiSampler, type StrategyOptions } from '../src/index.ts';
import { sequential, tinyModel } from './tiny-model.ts';

beforeAll(async () => {
  await useEngine();
});

const exactly = -1;
const B = 2;
const jacobi = (segments: number | number[], iterations: number, guess: 'z' | 'zero' = 'z'): BlockPlan => ({
  method: 'gs-jacobi',
  segments,
  iterations,
  guess,
});

describe('samples', () => {
  const tiny = () => {
    const world = tinyModel();
    return { ...world, T: tokenSizes(world.config).T, K: world.config.blocks, sampler: gsJacobiSampler(world.config) };
  };

  it('of sequential plans are those of the sequential sampler to the bit', () => {
    const { model, config, noise, sampler, T, K } = tiny();
    const { images, report, warnings } = sampler.sample(model, noise(B), { strategy: everywhere(K, { method: 'sequential' }) });
    expectClose(images, sequential({ model, config }, noise(B)));
    expect(report).toMatchObject({ depth: K * (T - 1), work: (K * (T - 1)) / T });
    expect(warnings).toEqual([]);
  });

  it('have tokens 0 … n right after n iterations, in the order of the block, from either guess', () => {
    const { model, config, noise, T } = tiny();
    // One block, so that nothing but its own iterations counts. It is an even and an odd one in turn.
    for (const k of [0, 1]) {
      const alone = { blocks: [model.blocks[0]!, model.blocks[1]!].slice(0, k + 1), var: model.var };
      const settings = { ...config, blocks: k + 1 };
      const one = gsJacobiSampler(settings);
      const rest = everywhere(k + 1, { method: 'sequential' }).slice(1);
      let exact: Tensor | undefined;
      for (const { block, x } of one.steps(alone, noise(B), { strategy: [{ method: 'sequential' }, ...rest] })) if (block === k) exact = x;
      for (const guess of ['z', 'zero'] as const)
        for (let n = 1; n < T; n++) {
          let out: Tensor | undefined;
          const strategy = [jacobi(1, n, guess), ...rest];
          for (const { block, x } of one.steps(alone, noise(B), { strategy, tolerance: exactly })) if (block === k) out = x;
          const inOrder = (x: Tensor): Tensor => (k === 0 ? x : tf.reverse(x, 1));
          const known = (x: Tensor): Tensor => tf.slice(inOrder(x), [0, 0, 0], [B, n + 1, -1]);
          expectClose(known(out!), known(exact!), { abs: 2e-5 }, `block ${k}, guess ${guess}, ${n} iterations`);
        }
    }
  });

  it('are the sequential ones for enough iterations, in segments of any sizes, exactly or from any guess', () => {
    const { model, config, noise, sampler, T, K } = tiny();
    const expected = sequential({ model, config }, noise(B));
    const plans: BlockPlan[] = [
      jacobi(1, T),
      jacobi(1, T, 'zero'),
      jacobi(3, T / 3),
      jacobi(5, T, 'zero'),
      jacobi(T, 1),
      jacobi([1, 4, 7], 7),
      jacobi([6, 5, 1], 6),
      { method: 'exact', window: 4, guess: 'z' },
      { method: 'exact', window: 1, guess: 'z' },
      { method: 'exact', window: 16, guess: 'zero', tolerance: 0 },
    ];
    for (const plan of plans)
      for (const options of [
        { tolerance: exactly },
        { tolerance: 1e-7, cache: 'fresh' },
        { tolerance: 1e-7, stopping: 'sample' },
      ] as const) {
        const { images } = sampler.sample(model, noise(B), { strategy: everywhere(K, plan), ...(plan.method === 'exact' ? {} : options) });
        expectClose(images, expected, { abs: 2e-5 }, JSON.stringify({ plan, options }));
      }
    // The unrolled graph is the same computation.
    const [one, four] = [1, 4].map((unroll) =>
      sampler.sample(model, noise(B), { strategy: everywhere(K, jacobi(2, T)), tolerance: 1e-3, unroll }),
    );
    expect(four!.report).toEqual(one!.report);
    expectClose(four!.images, one!.images, { abs: 1e-6 });
  });

  it('of one segment more in the plan cost what the report says', () => {
    const { model, noise, sampler, T } = tiny();
    const strategy: StrategyOptions = [jacobi(4, 3), jacobi(1, 5), { method: 'sequential' }];
    const { report } = sampler.sample(model, noise(B), { strategy, tolerance: exactly });
    // Four segments of three tokens; the last has two unknowns and needs no third iteration.
    expect(report.blocks[0]!.segments!.map(({ iterations }) => iterations)).toEqual([3, 3, 3, 2]);
    expect(report.blocks.map(({ block, depth }) => [block, depth])).toEqual([
      [2, 11],
      [1, 5],
      [0, T - 1],
    ]);
    expect(report.depth).toBe(11 + 5 + T - 1);
    expect(report.work).toBeCloseTo((11 * 3) / T + 5 + (T - 1) / T, 10);
  });

  it('of one sample by itself and in a batch agree with per-sample stopping', () => {
    const { model, noise, sampler, K } = tiny();
    const z = tf.mul(noise(3), tf.tensor3d([0.01, 1, 2], [3, 1, 1]));
    const options = { strategy: everywhere(K, jacobi(2, 12)), tolerance: 1e-3, stopping: 'sample' } as const;
    const together = sampler.sample(model, z, options);
    for (let b = 0; b < 3; b++) {
      const alone = sampler.sample(model, tf.slice(z, [b, 0, 0], [1, -1, -1]), options);
      expectClose(tf.slice(together.images, [b, 0, 0, 0], [1, -1, -1, -1]), alone.images, { abs: 1e-5 });
    }
  });

  it('of a conditioner that is constant take one iteration, and two to see it', () => {
    const { model, noise, sampler, K } = tiny();
    const blocks = model.blocks.map((p) => ({ ...p, proj_out: { weight: tf.zerosLike(p.proj_out.weight), bias: p.proj_out.bias } }));
    const flat = { ...model, blocks };
    const one = sampler.sample(flat, noise(B), { strategy: everywhere(K, jacobi(1, 1, 'zero')) });
    const many = sampler.sample(flat, noise(B), { strategy: everywhere(K, jacobi(1, 9, 'zero')), tolerance: 0 });
    expectClose(one.images, many.images, { abs: 1e-6 });
    expect(many.report.blocks.map(({ segments }) => segments![0]!.iterations)).toEqual([2, 2, 2]);
    // Closed form, block by block: x_t = z_t·exp(b_α) + b_μ for every token but the first.
    let x = tf.mul(noise(B), tf.sqrt(model.var));
    for (let k = K - 1; k >= 0; k--) {
      const [alpha, mu] = tf.split(blocks[k]!.proj_out.bias, 2) as [Tensor, Tensor];
      const z = k % 2 === 0 ? x : tf.reverse(x, 1);
      const rest = tf.add(tf.mul(tf.slice(z, [0, 1, 0]), tf.exp(alpha)), mu);
      const made = tf.concat([tf.slice(z, [0, 0, 0], [-1, 1, -1]), rest], 1);
      x = k % 2 === 0 ? made : tf.reverse(made, 1);
    }
    let last: Tensor | undefined;
    for (const step of sampler.steps(flat, noise(B), { strategy: everywhere(K, jacobi(1, 1)) })) last = step.x;
    expectClose(last!, x, { abs: 1e-5 });
  });
});

describe('guidance', () => {
  const world = (classes = 3) => {
    const tiny = tinyModel({ classes });
    return { ...tiny, K: tiny.config.blocks, sampler: gsJacobiSampler(tiny.config) };
  };
  const y = () => tf.tensor1d([2, -1], 'int32');
  const all = (plan: BlockPlan) => everywhere(3, plan);
  const plans: BlockPlan[] = [
    jacobi(1, 12),
    jacobi(3, 4),
    jacobi([5, 4, 3], 5),
    { method: 'exact', window: 4, guess: 'z' },
    { method: 'sequential' },
  ];

  it('gives the guided sequential samples in every mode', () => {
    const { model, config, noise, sampler } = world();
    for (const guidance of [
      { weight: 1.5, annealed: true, temperature: 0.8 },
      { weight: 1.5, annealed: true, what: 'a' },
      { weight: 0.7, what: 'b' },
    ] as const) {
      const expected = sequential({ model, config }, noise(B), { y: y(), guidance });
      for (const plan of plans) {
        const { images, warnings } = sampler.sample(model, noise(B), { strategy: all(plan), tolerance: exactly, y: y(), guidance });
        const tolerance = { abs: 5e-5 * Math.max(1, tf.max(tf.abs(expected)).dataSync()[0]!) };
        expectClose(images, expected, tolerance, JSON.stringify({ guidance, plan }));
        expect(warnings).toEqual([]);
      }
    }
  });

  it('of weight 0 changes no bit, and without labels only the temperature has an effect', () => {
    const { model, noise, sampler } = world();
    for (const plan of plans) {
      const sample = (options: object): { images: Tensor; warnings: string[] } =>
        sampler.sample(model, noise(B), { strategy: all(plan), tolerance: exactly, ...options });
      const plain = sample({ y: y() });
      expectClose(sample({ y: y(), guidance: { weight: 0 } }).images, plain.images);
      const none = sample({});
      const guided = sample({ guidance: { weight: 2 } });
      expectClose(guided.images, none.images, { abs: 1e-6 });
      expect(guided.warnings).toEqual([expect.stringMatching(/^guidance 2 has no effect: there are no labels/)]);
      const warm = sample({ guidance: { weight: 2, temperature: 0.5 } });
      expect(warm.warnings).toEqual([]);
      expect(() => expectClose(warm.images, none.images, { abs: 1e-3 })).toThrow();
    }
  });

  it('a label of -1 means no label, and each sample of a mixed batch has the same result as by itself', () => {
    const { model, noise, sampler } = world();
    const strategy = all(jacobi(2, 6));
    const z = noise(B);
    const mixed = sampler.sample(model, z, { strategy, tolerance: exactly, y: y() }).images;
    for (let b = 0; b < B; b++) {
      const row = tf.slice(z, [b, 0, 0], [1, -1, -1]);
      const label = y().dataSync()[b]!;
      const alone = sampler.sample(model, row, {
        strategy,
        tolerance: exactly,
        ...(label >= 0 && { y: tf.tensor1d([label], 'int32') }),
      }).images;
      expectClose(tf.slice(mixed, [b, 0, 0, 0], [1, -1, -1, -1]), alone, { abs: 1e-6 });
    }
  });
});

describe('the official mode', () => {
  it('clips, and does nothing where nothing is large', () => {
    const { model, config, noise } = tinyModel();
    const sampler = gsJacobiSampler(config);
    const outputs: Tensor[] = [];
    for (const segments of [1, 3]) {
      const options = { strategy: everywhere(3, jacobi(segments, 4)), official: true };
      for (const { block, x } of sampler.steps(model, tf.mul(noise(B), 4), options)) outputs.push(block % 2 === 0 ? x : tf.reverse(x, 1));
      for (const x of outputs.splice(0)) {
        const tokens = segments === 1 ? x : tf.slice(x, [0, 1, 0]);
        expect(tf.max(tf.abs(tokens)).dataSync()[0]).toBeLessThanOrEqual(3);
      }
    }
    const small = tf.mul(noise(B), 0.05);
    const calm = { strategy: everywhere(3, jacobi(2, 12)), tolerance: exactly };
    expectClose(sampler.sample(model, small, { ...calm, official: true }).images, sampler.sample(model, small, calm).images, { abs: 1e-6 });
  });

  it('refuses settings for which the released code silently gives wrong results', () => {
    const { model, config, noise } = tinyModel();
    const sampler = gsJacobiSampler(config);
    const official = (plan: BlockPlan) => () => sampler.sample(model, noise(B), { strategy: everywhere(3, plan), official: true });
    expect(official(jacobi(5, 2))).toThrow('strategy: block 2: segments: wanted a divisor of 12 tokens in the official mode, got 5');
    expect(official(jacobi([4, 8], 2))).toThrow('strategy: block 2: segments: wanted a number in the official mode, got [4, 8]');
    expect(official(jacobi(12, 2))).toThrow('strategy: block 2: segments: wanted an integer at least 1 and at most 6, got 12');
    expect(official({ method: 'exact', window: 2, guess: 'z' })).toThrow(
      "wanted 'sequential' or 'gs-jacobi' in the official mode, got 'exact'",
    );
  });
});

describe('memory and bad input', () => {
  it('leaves no tensor behind', async () => {
    const { model, config, noise } = tinyModel({ classes: 2 });
    const sampler = gsJacobiSampler(config);
    const z = noise(B);
    const y = tf.tensor1d([1, -1], 'int32');
    const strategy: StrategyOptions = [jacobi(4, 3), { method: 'exact', window: 4 }, { method: 'sequential' }];
    await expectNoLeak(() => sampler.sample(model, z, { strategy, y }).images);
    await expectNoLeak(() => sampler.sample(model, z, { strategy, y, guidance: { weight: 1, annealed: true } }).images);
    await expectNoLeak(() => {
      expect(() => sampler.sample(model, z, { strategy: everywhere(3, jacobi([12, 1], 2)) })).toThrow();
    });
    expect(sampler.graphs).toBeGreaterThan(0);
    sampler.dispose();
    expect(sampler.graphs).toBe(0);
  });

  it('is refused in one sentence', () => {
    const { model, config, noise } = tinyModel({ classes: 2 });
    const sampler: GsJacobiSampler = gsJacobiSampler(config);
    const sample =
      (options: object, z = noise(B)) =>
      () =>
        sampler.sample(model, z, { strategy: everywhere(3, { method: 'sequential' }), ...options });
    expect(sample({ strategy: everywhere(2, { method: 'sequential' }) })).toThrow('strategy: wanted plans of 3 blocks, got 2');
    expect(sample({ strategy: [{ method: 'jacobi' }] })).toThrow(/^gsJacobiSampler: strategy: 0.method: /);
    expect(sample({ strategy: everywhere(3, jacobi([5, 5], 3)) })).toThrow(
      'segments: wanted sizes of at least 1 that add up to 12 tokens, got [5, 5]',
    );
    expect(sample({ y: tf.tensor1d([0, 2], 'int32') })).toThrow(/labels from -1 \(none\) to 1, got 2/);
    expect(sample({ y: tf.tensor1d([0, -2], 'int32') })).toThrow(/labels from -1 \(none\) to 1, got -2/);
    expect(sample({ y: tf.tensor1d([0], 'int32') })).toThrow('gsJacobiSampler: y: wanted shape [B=2], got [1]');
    expect(sample({}, tf.zeros([B, 11, 12]))).toThrow('gsJacobiSampler: noise: wanted shape [B=2, T=12, D=12], got [2, 11, 12]');
    expect(sample({ guidance: { weight: -1 } })).toThrow(/^gsJacobiSampler: guidance: weight: /);
    expect(() => gsJacobiSampler({ ...config, imageSize: [5, 12] })).toThrow(
      /wanted a patch size that divides the image size \[5, 12\], got 2/,
    );
  });
});
