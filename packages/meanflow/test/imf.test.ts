import { Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { conditionalVelocity, interpolate, uniformGrid } from '@atelier/diffusion';
import {
  guidanceInterval,
  guidanceScale,
  imfGuidedVelocity,
  imfLoss,
  imfNetwork,
  imfParameterCount,
  imfSizes,
  improvedMeanFlowLoss,
  initImf,
  intervalEnds,
  meanFlowLoss,
  sampleMeanFlow,
  underGuidance,
  type ImfCondition,
  type ImfSettings,
  type TwoHeadedVelocity,
} from '../src/index.ts';
import { rotate } from '@atelier/nn';
import { testBatch, testNetwork, testParams, type TestParams } from './networks.ts';

const nullLabel = 4;
const tiny: ImfSettings = {
  ...{ inChannels: 3, patchSize: 2, width: 16, depth: 2, heads: 2, headDepth: 1, numClasses: 4, frequencySize: 32 },
  ...{ classTokens: 2, guidanceTokens: 1, intervalTokens: 1, timeTokens: 1 },
};

/** Two heads that depend in a simple way on all of their inputs. */
const heads: TwoHeadedVelocity = {
  u: (z, t, h, { omega, y }) => tf.add(tf.mul(z, 0.5), tf.reshape(tf.addN([t, tf.mul(h, 2), omega, tf.cast(y, 'float32')]), [-1, 1, 1])),
  v: (z, t, _h, { omega, y }) => tf.add(tf.mul(z, 0.3), tf.reshape(tf.addN([t, tf.mul(omega, 0.2), tf.cast(y, 'float32')]), [-1, 1, 1])),
};

function scene(seed: string) {
  const data = testBatch(new Rng(seed), [6, 3, 2], 2);
  const condition: ImfCondition = {
    omega: tf.tensor1d([2, 3, 4, 5, 6, 7]),
    tMin: tf.tensor1d([0, 0, 0, 0, 0.9, 0.9]),
    tMax: tf.tensor1d([1, 1, 1, 1, 1, 1]),
    y: data.y,
  };
  const velocity = conditionalVelocity(data.x, data.e);
  return { data, condition, velocity, z: interpolate(data.x, data.e, data.t) };
}

beforeAll(async () => {
  await useEngine();
});

describe('the objective', () => {
  it('with e - x as the velocity of the JVP it has the loss and the gradients of MeanFlow', () => {
    const rng = new Rng('equivalence');
    const params = testParams(rng, 6);
    const batch = testBatch(rng, [8, 3, 2], 3);
    const tangent = conditionalVelocity(batch.x, batch.e);
    for (const p of [0, 1]) {
      const options = { p, c: 0.01 };
      const trained = (loss: (q: TestParams) => Tensor) =>
        tf.tidy(() => valueAndGrad((q: TestParams) => ({ loss: loss(q), aux: {} }), params));
      const mean = trained((q) => meanFlowLoss(testNetwork(q), batch, options).loss);
      const improved = trained((q) => improvedMeanFlowLoss(testNetwork(q), { ...batch, tangent }, options).loss);
      expectClose(improved.loss, mean.loss, { rel: 1e-6 });
      for (const key of Object.keys(params) as (keyof TestParams)[]) expectClose(improved.grads[key], mean.grads[key], { max: 1e-6 }, key);
    }
  });

  it('uses its own velocity at h = 0 for the JVP if none is given', () => {
    const rng = new Rng('boundary');
    const network = testNetwork(testParams(rng, 6));
    const batch = testBatch(rng, [5, 3, 2]);
    const z = interpolate(batch.x, batch.e, batch.t);
    const tangent = network(z, batch.t, tf.zeros([5]), batch.y);
    const [own, given] = [
      improvedMeanFlowLoss(network, batch, { p: 1, c: 0.01 }),
      improvedMeanFlowLoss(network, { ...batch, tangent }, { p: 1, c: 0.01 }),
    ];
    expectClose(own.dudt, given.dudt, { rel: 1e-6, max: 1e-6 });
    expectClose(own.loss, given.loss, { rel: 1e-6 });
  });
});

describe('guidance', () => {
  it('scales lie between 1 and the largest, with density ∝ ω^-β', () => {
    const n = 20_000;
    const uniform = tf.tensor1d(Float32Array.from({ length: n }, (_, i) => i / n));
    for (const beta of [0, 1, 2]) {
      const omega = guidanceScale(uniform, { beta }).dataSync();
      expect(omega[0]).toBeCloseTo(1, 5);
      expect(omega[n - 1]).toBeGreaterThan(7.9);
      // Share below 3 of the density: ∫₁³ ω^-β / ∫₁⁸ ω^-β.
      const mass = (end: number): number => (beta === 1 ? Math.log(end) : (end ** (1 - beta) - 1) / (1 - beta));
      expect(omega.filter((w) => w < 3).length / n).toBeCloseTo(mass(3) / mass(8), 3);
    }
  });

  it('intervals start in the lower half and end in the upper half; rows with r = t get the whole of [0, 1]', () => {
    const ends = intervalEnds({ tMin: tf.tensor1d([0, 0.5]), tMax: tf.tensor1d([0.5, 0]) });
    expect([Array.from(ends.tMin.dataSync()), Array.from(ends.tMax.dataSync())]).toEqual([
      [0, 0.25],
      [0.75, 0.5],
    ]);
    const { tMin, tMax } = guidanceInterval(ends, { t: tf.tensor1d([0.7, 0.7]), r: tf.tensor1d([0.7, 0.1]) });
    expect([Array.from(tMin.dataSync()), Array.from(tMax.dataSync())]).toEqual([
      [0, 0.25],
      [1, 0.5],
    ]);
  });

  it('is v + (1 - 1/ω)(v_c - v_u), only inside the interval for moving rows, and its fixed point is ω·v + (1 - ω)·v_u', () => {
    const { data, condition, velocity, z } = scene('guided');
    const { velocity: guided, tangent } = imfGuidedVelocity(heads, { z, t: data.t, r: data.r, velocity, condition }, nullLabel);
    const [h, one] = [tf.zeros([6]), tf.ones([6])];
    const at = (omega: Tensor, y: Tensor): Tensor => heads.v(z, data.t, h, { omega, tMin: h, tMax: one, y });
    const unconditional = at(one, tf.fill([6], nullLabel, 'int32'));
    const [t, tMin, tMax, r] = [data.t, condition.tMin, condition.tMax, data.r].map((x) => x.dataSync());
    const inside = Array.from(t!, (ti, i) => ti >= tMin![i]! && ti <= tMax![i]!);
    expect(inside).toContain(false);
    const gated = tf.tensor1d(Array.from(condition.omega.dataSync(), (w, i) => (inside[i] ? w : 1)));
    expectClose(tangent, at(gated, condition.y), { rel: 1e-6, max: 1e-6 });
    const used = tf.tensor1d(Array.from(condition.omega.dataSync(), (w, i) => (inside[i] || r![i] === t![i] ? w : 1)));
    const factor = tf.reshape(tf.sub(1, tf.reciprocal(used)), [6, 1, 1]);
    expectClose(guided, tf.add(velocity, tf.mul(factor, tf.sub(at(used, condition.y), unconditional))), { rel: 1e-5, max: 1e-5 });

    const field = new Rng('field').normal([6, 3, 2]);
    const scale = tf.reshape(condition.omega, [6, 1, 1]);
    const fixed = tf.add(tf.mul(scale, velocity), tf.mul(tf.sub(1, scale), field));
    const atFixedPoint: TwoHeadedVelocity = { u: heads.u, v: (_z, _t, _h, { y }) => (y.dataSync()[0] === nullLabel ? field : fixed) };
    const everywhere = { ...condition, tMin: h, tMax: one };
    const again = imfGuidedVelocity(atFixedPoint, { z, t: data.t, r: data.r, velocity, condition: everywhere }, nullLabel).velocity;
    expectClose(again, fixed, { rel: 1e-5, max: 1e-5 });
  });

  it('is free at sampling time', () => {
    const network: TwoHeadedVelocity = { u: (z, _t, _h, { omega }) => tf.mul(tf.onesLike(z), tf.reshape(omega, [-1, 1, 1])), v: heads.v };
    const e = tf.zeros([2, 3, 2]);
    const y = tf.zeros([2], 'int32');
    for (const omega of [1, 4.5])
      expectClose(sampleMeanFlow(underGuidance(network, { omega }), e, { grid: uniformGrid(2), y }), tf.fill([2, 3, 2], -omega), {
        rel: 1e-6,
      });
  });
});

describe('the network', () => {
  it('both heads start at 0, and the loss is that of zero velocities', () => {
    const network = imfNetwork(initImf(new Rng('imf'), tiny), tiny);
    const data = testBatch(new Rng('images'), [2, 4, 6, 3], 1);
    const condition = { omega: tf.tensor1d([1, 3]), tMin: tf.zeros([2]), tMax: tf.ones([2]), y: data.y };
    const parts = imfLoss(
      network,
      { ...data, condition, dropUniform: tf.ones([2]) },
      { p: 1, c: 0.01, classDrop: { probability: 0.1, rule: 'prefix' }, nullLabel },
    );
    for (const key of ['u', 'head', 'dudt', 'tangent', 'compound'] as const) expectClose(parts[key], tf.zeros([2, 4, 6, 3]), {}, key);
    expectClose(parts.velocity, conditionalVelocity(data.x, data.e), { abs: 1e-6 });
    expectClose(parts.squaredError, parts.headSquaredError, {});
    // With p = 1 each of the two losses is S/(S + c), nearly 1.
    expect(parts.loss.dataSync()[0]).toBeCloseTo(2, 2);
  });

  it('the largest size has about the published number of parameters at inference', () => {
    const settings = { ...imfSizes['XL/2'], inChannels: 4, numClasses: 1000 };
    const all = imfParameterCount(settings);
    const head = imfParameterCount({ ...settings, depth: 9, headDepth: 9 }) - imfParameterCount({ ...settings, depth: 8, headDepth: 8 });
    // `head` is one block in each of two heads; without the eight blocks of the v-head the model is the published one of 610 million.
    expect(Math.round((all - 4 * head) / 1e6)).toBe(610);
  });

  it('rotates pairs of channels so that products depend on the distance', () => {
    const rng = new Rng('rotary');
    const [q, k] = [rng.normal([1, 1, 1, 8]), rng.normal([1, 1, 1, 8])];
    const [Q, K] = [rotate(tf.tile(q, [1, 1, 6, 1])), rotate(tf.tile(k, [1, 1, 6, 1]))];
    const products = tf.matMul(Q, K, false, true).dataSync(); // [6, 6]
    const at = (i: number, j: number): number => products[i * 6 + j]!;
    for (const distance of [0, 1, 3]) for (let i = distance; i < 6; i++) expect(at(i, i - distance)).toBeCloseTo(at(distance, 0), 4);
    expect(Math.abs(at(1, 0) - at(0, 0))).toBeGreaterThan(1e-3);
    expectClose(tf.slice(Q, [0, 0, 0, 0], [1, 1, 1, 8]), q, { abs: 1e-6 });
  });
});

describe('bad input', () => {
  const batch = () => {
    const { data, condition } = scene('bad');
    return { ...data, condition, dropUniform: tf.ones([6]) };
  };
  const options = { p: 1, c: 0.01, classDrop: { probability: 0.1, rule: 'prefix' as const }, nullLabel };

  it.each([
    [
      'heads that do not divide the width',
      () => initImf(new Rng(0), { ...tiny, heads: 3 }),
      /imfParameters: heads: wanted heads of even width/,
    ],
    ['heads deeper than the network', () => initImf(new Rng(0), { ...tiny, headDepth: 3 }), /headDepth: wanted at most the depth 2, got 3/],
    [
      'images of other channels',
      () => imfNetwork(initImf(new Rng(0), tiny), tiny).u(tf.zeros([1, 4, 4, 1]), tf.ones([1]), tf.ones([1]), {} as never),
      /imfNetwork: z: wanted shape .*C=3/,
    ],
    [
      'a largest scale below 1',
      () => guidanceScale(tf.zeros([2]), { max: 0.5 }),
      /guidanceScale: max: wanted a finite number at least 1, got 0.5/,
    ],
    [
      'uniforms of different lengths',
      () => intervalEnds({ tMin: tf.zeros([2]), tMax: tf.zeros([3]) }),
      /intervalEnds: tMax: wanted shape \[B=2\], got \[3\]/,
    ],
    [
      'ends of another batch',
      () => guidanceInterval({ tMin: tf.zeros([2]), tMax: tf.zeros([2]) }, { t: tf.zeros([3]), r: tf.zeros([3]) }),
      /guidanceInterval: t: wanted shape \[B=2\], got \[3\]/,
    ],
    [
      'a scale of another batch',
      () => imfLoss(heads, { ...batch(), condition: { ...batch().condition, omega: tf.ones([2]) } }, options),
      /imfLoss: omega: wanted shape \[B=6\], got \[2\]/,
    ],
    [
      'noise of another shape',
      () => imfLoss(heads, { ...batch(), e: tf.zeros([6, 6]) }, options),
      /imfLoss: e: wanted shape \[6, 3, 2\], got \[6, 6\]/,
    ],
    [
      'a null label below 0',
      () => imfLoss(heads, batch(), { ...options, nullLabel: -1 }),
      /nullLabel: wanted an integer at least 0, got -1/,
    ],
    [
      'a scale below 1 when sampling',
      () => underGuidance(heads, { omega: 0.5 }),
      /underGuidance: omega: wanted a finite number at least 1, got 0.5/,
    ],
    [
      'an interval that ends before it starts',
      () => underGuidance(heads, { omega: 2, interval: [0.8, 0.2] }),
      /underGuidance: interval start/,
    ],
    [
      'sampling without labels',
      () => sampleMeanFlow(underGuidance(heads, { omega: 2 }), tf.zeros([2, 3, 2])),
      /underGuidance: y: wanted labels \[B\], got undefined/,
    ],
    ['an odd width of a head', () => rotate(tf.zeros([1, 1, 2, 3])), /rotate: x: wanted an even width of a head, got 3/],
    [
      'data of another rank',
      () => improvedMeanFlowLoss(testNetwork(testParams(new Rng(0), 6)), { ...batch(), x: tf.zeros([6]) }, { p: 1, c: 0.01 }),
      /improvedMeanFlowLoss: x: wanted a batch/,
    ],
  ])('%s is refused', (_, call, message) => expect(call).toThrow(message));
});
