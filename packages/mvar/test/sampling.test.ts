import { Rng, tf, toTensor, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  drawTokenNoise,
  drawTokens,
  filterLogits,
  initMvar,
  mvarConfig,
  mvarForward,
  mvarSampler,
  quantizerConfig,
  reconstruct,
  scalesOf,
  teacherInputs,
  type MvarConfig,
  type MvarSampleOptions,
} from '../src/index.ts';
import { causal, coding, drawnParams, drawnQuantizer, markov } from './networks.ts';

beforeAll(async () => {
  await useEngine();
});

const B = 2;
const labels = (...y: number[]): Tensor => toTensor({ dtype: 'int32', shape: [y.length], data: Int32Array.from(y) });
const drawnMaps = (seed: string): Tensor[] =>
  scalesOf(markov.ladder).map(({ index, tokens }) =>
    toTensor({ dtype: 'int32', shape: [B, tokens], data: new Rng(seed).child(index).integers(B * tokens, 0, markov.codes) }),
  );

/** A traced sample of a network and quantizer that a name gives. */
function sample(
  config: MvarConfig,
  { y = labels(1, 2), seed = 'sample', ...options }: MvarSampleOptions & { y?: Tensor; seed?: string } = {},
) {
  const sampler = mvarSampler(config, coding);
  const model = { params: drawnParams(config, 'sampling'), codes: drawnQuantizer(coding, 'sampling'), y };
  const steps = [...sampler.steps(model, drawTokenNoise(new Rng(seed), B, config, options), options)];
  sampler.dispose();
  const reconstructions = steps.map(({ latents }) => latents);
  return {
    tokens: steps.map(({ tokens }) => tokens),
    logits: steps.map(({ logits }) => logits),
    reconstructions,
    latents: reconstructions.at(-1)!,
  };
}

const configs: [string, MvarConfig][] = [
  ['MVAR, which keeps nothing', markov],
  ['VAR, which keeps keys and values', causal],
  ['a history of two scales', { ...causal, historyScales: 2 }],
  ['a history of three', { ...causal, historyScales: 3 }],
];

describe('invariant 2: sampling sees what training saw', () => {
  it.each(configs)('%s', (_, config) => {
    const forced = drawnMaps('forced');
    const { logits, tokens, reconstructions, latents } = sample(config, { forced });
    const whole = { first: 0, end: config.ladder.length };
    const known = reconstruct(drawnQuantizer(coding, 'sampling'), forced, coding);
    const x = teacherInputs(known, config.ladder);
    expectClose(tf.concat(logits, 1), mvarForward(drawnParams(config, 'sampling'), { y: labels(1, 2), x }, whole, config), { abs: 2e-5 });
    tokens.forEach((map, l) => expectClose(map, forced[l]!, {}));
    // Invariant 8, seen from the sampler.
    reconstructions.forEach((value, l) => expectClose(value, known[l]!, { abs: 1e-5 }));
    expectClose(latents, known.at(-1)!, { abs: 1e-5 });
  });
});

describe('invariant 10: guidance', () => {
  const forced = drawnMaps('guided');

  it.each(configs)('%s: none at scale 0, none without a class, a straight line between', (_, config) => {
    const at = (guidance: number, y?: Tensor) => sample(config, { forced, guidance, ...(y && { y }) }).logits;
    const [none, one, three] = [at(0), at(1.5), at(4.5)];
    expectClose(one[0]!, none[0]!, { abs: 1e-5 });
    none.forEach((logits, l) => expectClose(tf.sub(three[l]!, logits), tf.mul(tf.sub(one[l]!, logits), 3), { abs: 1e-4 }, `scale ${l}`));
    const [plain, guided] = [at(0, labels(config.numClasses, config.numClasses)), at(3, labels(config.numClasses, config.numClasses))];
    plain.forEach((logits, l) => expectClose(guided[l]!, logits, { abs: 2e-5 }));
  });

  it('of exactly 1 is none in MVAR and some in VAR, as official', () => {
    const differs = (config: MvarConfig): number => {
      const [a, b] = [0, 1].map((guidance) => sample(config, { forced, guidance }).logits.at(-1)!);
      return tf.max(tf.abs(tf.sub(a!, b!))).dataSync()[0]!;
    };
    expect(differs(markov)).toBe(0);
    expect(differs(causal)).toBeGreaterThan(1e-2);
  });
});

describe('invariant 16: filters', () => {
  const logits = new Rng('filters').normal([2, 5, 11]);
  const kept = (x: Tensor): number[] => Array.from(tf.sum(tf.cast(tf.greater(x, -Infinity), 'int32'), 2).dataSync());

  it('keep the largest alone with topK 1, all but what float32 cannot tell from 0 with topP 1, and never nothing', () => {
    const one = filterLogits(logits, { topK: 1 });
    expectClose(tf.argMax(one, 2), tf.argMax(logits, 2), {});
    expect(kept(one).every((count) => count === 1)).toBe(true);
    expect(kept(filterLogits(logits, { topP: 1 })).every((count) => count >= 10)).toBe(true);
    expect(kept(filterLogits(logits, { topP: 1e-9 })).every((count) => count === 1)).toBe(true);
    expect(kept(filterLogits(logits, { topK: 11 }))).toEqual(new Array(10).fill(11));
    const ties = tf.tensor3d([1, 1, 1, 0], [1, 1, 4]);
    expect(kept(filterLogits(ties, { topK: 2 }))).toEqual([3]);
  });

  it('make a greedy sampler of topK 1', () => {
    const { logits: found, tokens } = sample(markov, { topK: 1, guidance: 2 });
    found.forEach((x, l) => expectClose(tokens[l]!, tf.cast(tf.argMax(x, 2), 'int32'), {}));
  });

  it('are followed by draws with the probabilities that are left', () => {
    const one = tf.tensor3d([0, 1, 2, -1], [1, 1, 4]);
    const n = 4000;
    const many = tf.tile(filterLogits(one, { topK: 3 }), [1, n, 1]);
    const counts = [0, 0, 0, 0];
    for (const token of drawTokens(many, new Rng('draws').uniform([1, n])).dataSync()) counts[token]!++;
    const wanted = [0, 1, 2].map((v) => Math.exp(v) / (1 + Math.E + Math.E ** 2));
    wanted.forEach((p, v) => expect(Math.abs(counts[v]! / n - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / n)));
    expect(counts[3]).toBe(0);
    // The ends of the unit interval.
    const ends = drawTokens(
      tf.tensor3d([-Infinity, 0, -Infinity, 0, -Infinity, -Infinity, 0, -Infinity, 0, -Infinity], [1, 2, 5]),
      tf.tensor2d([0, 1 - 2 ** -24], [1, 2]),
    );
    expect(Array.from(ends.dataSync())).toEqual([1, 3]);
  });
});

describe('forced tokens', () => {
  it('stay as they are, and the others are drawn by what they say (inpainting)', () => {
    const forced = drawnMaps('half').map((map) =>
      tf.tidy(() =>
        tf.where(tf.equal(tf.mod(tf.range(0, map.size, 1, 'int32').reshape(map.shape), 2), 0), map, tf.fill(map.shape, -1, 'int32')),
      ),
    );
    const { tokens } = sample(causal, { forced, guidance: 1.5, topK: 5 });
    tokens.forEach((map, l) => {
      const [got, given] = [map.dataSync(), forced[l]!.dataSync()];
      given.forEach((code, i) => (code >= 0 ? expect(got[i]).toBe(code) : expect(got[i]).toBeLessThan(causal.codes)));
    });
  });
});

describe('a sample', () => {
  it('depends on its stream alone, and on every part of it', () => {
    const values = (seed: string) =>
      sample(markov, { seed, guidance: 1.5, topK: 9, topP: 0.95 }).tokens.map((map) => Array.from(map.dataSync()));
    expect(values('a')).toEqual(values('a'));
    expect(values('a')).not.toEqual(values('b'));
  });

  it('is never cut in two, however large: one guided image of a wide network', () => {
    const wide = mvarConfig.parse({ ...markov, ladder: [1, 24], width: 512, depth: 1, refineStep: 1 });
    const one = quantizerConfig.parse({ ...coding, ladder: wide.ladder, ratio: 0 });
    const model = { params: initMvar(new Rng('wide'), wide), codes: drawnQuantizer(one, 'wide'), y: labels(1) };
    const { tokens } = mvarSampler(wide, one).sample(model, drawTokenNoise(new Rng('wide'), 1, wide), { guidance: 2, topK: 1 });
    expect(tokens.map(({ shape }) => shape)).toEqual([
      [1, 1],
      [1, 576],
    ]);
  });

  it('of mixtures is near that of codes where one code has all the weight', () => {
    const soft = sample(markov, { smooth: true, topK: 1 });
    const hard = sample(markov, { topK: 1 });
    soft.tokens.forEach((map, l) => expectClose(map, hard.tokens[l]!, {}));
    expectClose(soft.latents, hard.latents, { abs: 1e-5 });
    const mixed = sample(markov, { smooth: true, topK: 6 });
    expect(mixed.latents.shape).toEqual(hard.latents.shape);
    expect(mixed.latents.dataSync().every(Number.isFinite)).toBe(true);
  });

  it('is the same whole and scale by scale, leaves nothing behind, and neither does one that is broken off', async () => {
    for (const config of [markov, causal, { ...causal, historyScales: 2 }]) {
      const sampler = mvarSampler(config, coding);
      const model = { params: drawnParams(config, 'leak'), codes: drawnQuantizer(coding, 'leak'), y: labels(0, 1) };
      const noise = drawTokenNoise(new Rng('leak'), B, config);
      const options = { guidance: 2, topP: 0.9 };
      await expectNoLeak(() => sampler.sample(model, noise, options));
      const whole = sampler.sample(model, noise, options);
      const steps = [...sampler.steps(model, noise, options)];
      steps.forEach(({ tokens }, l) => expectClose(tokens, whole.tokens[l]!, {}));
      expectClose(steps.at(-1)!.latents, whole.latents, { abs: 1e-5 });
      await expectNoLeak(() => {
        const broken: Tensor[] = [];
        for (const { l, tokens, logits, latents } of sampler.steps(model, noise, options)) {
          broken.push(tokens, logits, latents);
          if (l === 2) break;
        }
        return broken;
      });
      sampler.dispose();
    }
  });
});
