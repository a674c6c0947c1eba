import { ditParameterCount, silu } from '@atelier/nn';
import { Rng, tf, treeMap, useEngine, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose, tensorDirectionalDifference } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  averageVelocityAndDerivative,
  ditFlaxNames,
  ditFromFlax,
  ditToFlax,
  fromTimePair,
  fromVelocity,
  imfNetwork,
  initImf,
  initMeanFlowDiT,
  initPointNetwork,
  meanFlowDiT,
  meanFlowDiTConfig,
  meanFlowLoss,
  pointNetwork,
  underGuidance,
  type AverageVelocity,
  type ImfSettings,
} from '../src/index.ts';
import { squaredNorm } from '@atelier/diffusion';
import { testBatch, testNetwork, testParams } from './networks.ts';

const tiny = {
  ...meanFlowDiTConfig('B/4', { inChannels: 3, numClasses: 4 }),
  patchSize: 2,
  width: 16,
  depth: 2,
  heads: 2,
  frequencySize: 32,
};
const tinyImf: ImfSettings = {
  ...{ inChannels: 3, patchSize: 2, width: 16, depth: 2, heads: 2, headDepth: 1, numClasses: 4, frequencySize: 32 },
  ...{ classTokens: 2, guidanceTokens: 1, intervalTokens: 1, timeTokens: 1 },
};

/** Parameters that differ from the official initial values, in which whole branches are zero. */
const perturbed = <T extends Tree>(params: T, rng: Rng): T =>
  treeMap((leaf, path) => tf.add(leaf, tf.mul(rng.child(path).normal(leaf.shape), 0.15)), params);

beforeAll(async () => {
  await useEngine();
});

describe('invariant 6: the derivative of a whole network against central differences', () => {
  const networks: [name: string, shape: number[], make: (rng: Rng) => AverageVelocity][] = [
    ['a tanh network', [3, 3, 2], (rng) => testNetwork(testParams(rng, 6))],
    ['the network for points', [5, 2], (rng) => pointNetwork(initPointNetwork(rng, { dimension: 2, width: 24, depth: 3 }))],
    ['the DiT', [2, 4, 6, 3], (rng) => meanFlowDiT(perturbed(initMeanFlowDiT(rng, tiny), rng.child('shift')), tiny)],
    [
      'the iMF transformer',
      [2, 4, 6, 3],
      (rng) => underGuidance(imfNetwork(perturbed(initImf(rng, tinyImf) as never, rng.child('shift')) as never, tinyImf), { omega: 2 }),
    ],
    [
      'a network of t and r',
      [3, 2],
      () => fromTimePair((z, t, r) => tf.mul(silu(z), tf.reshape(tf.add(tf.sin(tf.mul(t, 2)), tf.square(r)), [3, 1]))),
    ],
    ['a network without h', [3, 2], () => fromVelocity((z, t) => tf.mul(tf.sin(z), tf.reshape(tf.exp(t), [3, 1])))],
  ];

  it.each(networks)('%s', (name, shape, make) => {
    const network = make(new Rng(name));
    const { x: z, e: tangent, t, r, y } = testBatch(new Rng('point'), shape);
    const labels = name === 'the network for points' ? undefined : y;
    const { u, dudt } = averageVelocityAndDerivative(network, { z, t, r, ...(labels && { y: labels }), tangent });
    const ones = tf.ones(t.shape);
    const wanted = tensorDirectionalDifference((zi, ti, hi) => network(zi!, ti!, hi!, labels), [z, t, tf.sub(t, r)], [tangent, ones, ones]);
    expectClose(dudt, wanted, { max: 2e-3 });
    expectClose(u, network(z, t, tf.sub(t, r), labels), { rel: 1e-6, max: 1e-6 });
    expect(tf.max(tf.abs(dudt)).dataSync()[0]).toBeGreaterThan(0.01);
  });
});

describe('the DiT', () => {
  it('invariant 14: starts at exactly 0, so that S = ‖v‖² and D = 0', () => {
    const network = meanFlowDiT(initMeanFlowDiT(new Rng(14), tiny), tiny);
    const batch = testBatch(new Rng('fresh'), [2, 4, 6, 3]);
    const parts = meanFlowLoss(network, batch, { p: 1, c: 0.01 });
    expectClose(parts.u, tf.zeros([2, 4, 6, 3]), {});
    expectClose(parts.dudt, tf.zeros([2, 4, 6, 3]), {});
    expectClose(parts.squaredError, squaredNorm(tf.sub(batch.e, batch.x)), { rel: 1e-6 });
  });

  it('has the published number of parameters in every size', () => {
    const counts = { 'B/4': 131_165_248, 'B/2': 131_091_472, 'M/2': 308_019_216, 'L/2': 459_137_040, 'XL/2': 676_440_592 } as const;
    for (const [size, count] of Object.entries(counts))
      expect(ditParameterCount(meanFlowDiTConfig(size as keyof typeof counts))).toBe(count);
    expect(meanFlowDiTConfig('S/2')).toMatchObject({ depth: 12, width: 384, heads: 6, patchSize: 2 });
  });

  it('parameters are unchanged after conversion to Flax names and back; kernels are transposed in Flax', () => {
    const params = initMeanFlowDiT(new Rng('flax'), tiny);
    const flax = ditToFlax(params, tiny);
    expect(flax['net/blocks/layers_1/attn/qkv/_flax_linear/kernel']!.shape).toEqual([16, 48]);
    expect(flax['net/x_embedder/proj/kernel']!.shape).toEqual([2, 2, 3, 16]);
    const back = ditFromFlax(flax, tiny);
    expectClose(back.x_embedder.proj.weight, params.x_embedder.proj.weight, {});
    expectClose(back.blocks[1]!.attn.qkv.weight, params.blocks[1]!.attn.qkv.weight, {});
    expect(new Set(ditFlaxNames(tiny).map(({ flax: name }) => name)).size).toBe(Object.keys(flax).length);
  });

  it('refuses checkpoints and settings of other networks', () => {
    const flax = ditToFlax(initMeanFlowDiT(new Rng('flax'), tiny), tiny);
    const { 'net/final_layer/linear/_flax_linear/bias': last, ...rest } = flax as Record<string, Tensor>;
    expect(() => ditFromFlax(rest, tiny)).toThrow(/ditFromFlax: .*missing net\/final_layer\/linear\/_flax_linear\/bias$/);
    expect(() => ditFromFlax({ ...flax, 'net/extra': last! }, tiny)).toThrow(/not of this model net\/extra$/);
    expect(() => ditFromFlax({ ...flax, 'net/final_layer/linear/_flax_linear/bias': tf.zeros([3]) }, tiny)).toThrow(
      /misshapen net\/final_layer\/linear\/_flax_linear\/bias \(wanted float32 \[\d+\], got float32 \[3\]\)$/,
    );
    expect(() => ditToFlax({} as never, tiny)).toThrow(/ditToFlax: wanted parameter/);
    expect(() => meanFlowDiTConfig('H/14' as never)).toThrow(/meanFlowDiTConfig: size: wanted S\/2, .*got 'H\/14'/);
    expect(() => meanFlowDiTConfig('B/4', { inChannels: 0 })).toThrow(/meanFlowDiTConfig: inChannels/);
    expect(() => initMeanFlowDiT(new Rng(0), { ...tiny, interval: false })).toThrow(/initMeanFlowDiT: config: wanted interval: true/);
    expect(() => meanFlowDiT({} as never, { ...tiny, learnSigma: true })).toThrow(/meanFlowDiT: config: .*learnSigma: true/);
  });
});

describe('the network for points', () => {
  it('is layers with SiLU on the concatenation of (z, t, h)', () => {
    const params = initPointNetwork(new Rng('points'), { dimension: 3, width: 4, depth: 1 });
    expect(params.layers.map(({ weight }) => weight.shape)).toEqual([
      [4, 5],
      [3, 4],
    ]);
    const [z, t, h] = [new Rng('z').normal([2, 3]), tf.tensor1d([0.2, 0.9]), tf.tensor1d([0.1, 0.4])];
    const [first, last] = params.layers as [(typeof params.layers)[0], (typeof params.layers)[0]];
    const input = tf.concat([z, tf.reshape(t, [2, 1]), tf.reshape(h, [2, 1])], 1);
    const hidden = tf.matMul(input, first.weight, false, true);
    const wanted = tf.matMul(tf.mul(hidden, tf.sigmoid(hidden)), last.weight, false, true);
    expectClose(pointNetwork(params)(z, t, h), wanted, { rel: 1e-5, max: 1e-6 });
  });

  it('refuses sizes and points that do not fit', () => {
    expect(() => initPointNetwork(new Rng(0), { dimension: 0 })).toThrow(
      /initPointNetwork: dimension: wanted an integer at least 1, got 0/,
    );
    expect(() => pointNetwork({ layers: [] })(tf.zeros([2, 3, 4]), tf.zeros([2]), tf.zeros([2]))).toThrow(
      /pointNetwork: z: wanted shape \[B, D\]/,
    );
  });
});
