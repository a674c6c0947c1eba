import { Rng, tf, toHostTree, toTensor, useEngine, type Tree, type Tensor } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  attentionMass,
  filterLogits,
  groupOfIteration,
  initMvar,
  initTokenizer,
  ladders,
  mvarConfig,
  mvarForward,
  mvarFromStateDict,
  drawTokenNoise,
  mvarSampler,
  mvarSchedule,
  phiIndices,
  publishedMvar,
  quantize,
  scalesOf,
  tokenizerFromStateDict,
  type MvarSampleOptions,
  type MvarSettings,
} from '../src/index.ts';
import { causal, coding, drawnInputs, drawnParams, drawnQuantizer, inputsOf, markov } from './networks.ts';

beforeAll(async () => {
  await useEngine();
});

const int32 = (shape: number[], ...data: number[]) => toTensor({ dtype: 'int32', shape, data: Int32Array.from(data) });

describe('settings', () => {
  it.each<[string, Partial<MvarSettings>, string]>([
    [
      'a ladder that does not start at 1',
      { ladder: [2, 3, 5] },
      'ladder: wanted whole numbers that start at 1 and increase, at least two, got [2, 3, 5]',
    ],
    ['a ladder that does not increase', { ladder: [1, 3, 3] }, 'got [1, 3, 3]'],
    [
      'a window larger than its scale',
      { kernelSize: 6 },
      'kernelSize: wanted at most 5, the side of the smallest scale with windows, got 6',
    ],
    ['windows and a history', { historyScales: 2 }, 'historyScales: wanted 1 where scales from 3 on have windows, got 2'],
    ['a refine step past the ladder', { refineStep: 6 }, 'refineStep: wanted at most 5, which is no window at all, got 6'],
    ['a history longer than the ladder', { historyScales: 6, refineStep: 5 }, 'historyScales: wanted at most the 5 scales, got 6'],
    ['heads that do not divide the width', { heads: 3 }, 'heads: wanted a divisor of the width 16, got 3'],
    ['a rate of 1', { dropPath: 1 }, 'dropPath'],
    ['an unknown setting', { kernel: 3 } as never, 'kernel'],
  ])('%s', (_, more, sentence) => {
    expect(() => initMvar(new Rng('bad'), { ...markov, ...more })).toThrow(sentence);
  });

  it('of tokenizers, ladders, schedules', () => {
    const autoencoder = { latentChannels: 4, width: 8, groups: 4 };
    const quantizer = { ladder: [1, 2], codes: 8, channels: 3 };
    expect(() => initTokenizer(new Rng('t'), { autoencoder, quantizer })).toThrow(
      'quantizer.channels: wanted the 4 channels of the latents, got 3',
    );
    expect(() => initTokenizer(new Rng('t'), { autoencoder: { width: 9, groups: 4 }, quantizer })).toThrow(
      'groups: wanted a divisor of all widths',
    );
    expect(() => scalesOf([1])).toThrow('scalesOf: ladder: wanted whole numbers that start at 1 and increase, at least two, got [1]');
    expect(() => phiIndices(1, 4)).toThrow('phiIndices: scales: wanted an integer at least 2, got 1');
    expect(() => mvarSchedule({ peak: 1, warmUpSteps: 5, totalSteps: 6 })).toThrow(
      'mvarSchedule: totalSteps: wanted an integer at least 7, got 6',
    );
    expect(() => mvarSchedule({ kind: 'exp' as never, peak: 1, warmUpSteps: 1, totalSteps: 6 })).toThrow(
      "kind: wanted lin0, lin or cos, got 'exp'",
    );
    expect(() => groupOfIteration(0, markov, 0)).toThrow('groupOfIteration: ratio: wanted an integer at least 1, got 0');
    expect(() => publishedMvar(16, { ladder: ladders[1024] })).toThrow('publishedMvar: ladder: wanted a published one with a scale of 13');
  });
});

describe('a pass', () => {
  it('refuses inputs, ranges and parameters that do not fit', () => {
    const params = drawnParams(markov, 'bad');
    const inputs = drawnInputs(markov, 2, 'bad');
    const whole = { first: 0, end: 5 };
    expect(() => mvarForward(params, { y: inputs.y }, whole, markov)).toThrow('mvar embedding: x: wanted inputs [B, 74, c], got none');
    expect(() => mvarForward(params, inputs, { first: 0, end: 1 }, markov)).toThrow('mvar embedding: x: wanted none for scale 0, got some');
    expect(() => mvarForward(params, inputs, { first: 2, end: 6 }, markov)).toThrow('mvarForward: range: end: wanted an integer');
    expect(() => mvarForward(params, inputs, { first: 2, end: 2 }, markov)).toThrow('mvarForward: range: end: wanted an integer');
    expect(() => mvarForward(params, inputsOf(inputs, 1, 2, causal), { first: 1, end: 2 }, causal)).toThrow(
      'mvarForward: range: wanted one from scale 0 on, for tokens see 5 scales, got 1',
    );
    expect(() => mvarForward(params, inputs, whole, { ...markov, codes: 12 })).toThrow(
      'mvarForward: head.weight: wanted shape [V=12, C=16], got [11, 16]',
    );
    expect(() => mvarForward(params, inputs, whole, { ...markov, depth: 3 })).toThrow('mvarForward: params: wanted 3 blocks, got 2');
    expect(() => mvarForward(params, { ...inputs, keep: tf.ones([2, 2]) }, whole, markov)).toThrow(
      'mvarForward: keep: wanted shape [rows=4, B=2], got [2, 2]',
    );
    expect(() => attentionMass(params, inputs, markov)).toThrow('attentionMass: historyScales: wanted all 5 scales, got 1');
  });

  it('of the quantizer refuses latents and codebooks that do not fit', () => {
    const p = drawnQuantizer(coding, 'bad');
    const f = new Rng('f').normal([2, 6, 6, 3]);
    expect(() => quantize(p, new Rng('f').normal([2, 5, 5, 3]), coding)).toThrow('quantize: f: wanted shape');
    expect(() => quantize(p, f, { ...coding, codes: 12 })).toThrow('quantize: embedding.weight: wanted shape [V=12, c=3], got [11, 3]');
    expect(() => quantize(p, f, { ...coding, shared: 2 })).toThrow('quantize: quant_resi: wanted 2 convolutions, got 4');
  });
});

describe('a sampler', () => {
  it('refuses a quantizer of other tokens', () => {
    expect(() => mvarSampler(markov, { ...coding, codes: 12 })).toThrow('mvarSampler: codes: wanted the 12 of the quantizer, got 11');
    expect(() => mvarSampler(markov, { ...coding, channels: 4 })).toThrow(
      'mvarSampler: latentChannels: wanted the 4 channels of the quantizer, got 3',
    );
    expect(() => mvarSampler(markov, { ...coding, ladder: [1, 2, 6] })).toThrow(
      'mvarSampler: ladder: wanted that of the quantizer [1, 2, 6], got [1, 2, 3, 5, 6]',
    );
  });

  it.each<[string, MvarSampleOptions & { y?: Tensor; noise?: Tensor }, string]>([
    ['a label out of range', { y: int32([2], 0, 4) }, 'mvarSampler: y: wanted labels from 0 to 3 (no class), got 4'],
    ['a label below 0', { y: int32([2], -1, 0) }, 'mvarSampler: y: wanted labels from 0 to 3 (no class), got -1'],
    ['labels that are not whole', { y: tf.tensor1d([0, 1]) }, 'mvarSampler: y: wanted int32 labels, got float32'],
    ['noise for other tokens', { noise: tf.zeros([2, 9, 1]) }, 'mvarSampler: noise: wanted shape [B=2, N=75, R=1], got [2, 9, 1]'],
    [
      'noise of one number a token for mixtures',
      { smooth: true, noise: tf.zeros([2, 75, 1]) },
      'mvarSampler: noise: wanted shape [B=2, N=75, R=12], got [2, 75, 1]',
    ],
    ['topK out of range', { topK: 12 }, 'mvarSampler: topK: wanted an integer at least 0 and at most 11, got 12'],
    ['topP out of range', { topP: 1.1 }, 'mvarSampler: topP: wanted a finite number at least 0 and at most 1, got 1.1'],
    ['guidance below 0', { guidance: -1 }, 'mvarSampler: guidance: wanted a finite number at least 0, got -1'],
    ['forced maps of another number', { forced: [int32([2, 1], 0, 0)] }, 'mvarSampler: forced: wanted 5 token maps, got 1'],
    [
      'a forced code outside the codebook',
      { forced: [1, 2, 3, 5, 6].map((side) => tf.fill([2, side * side], side === 3 ? 11 : 0, 'int32')) },
      'mvarSampler: forced: map 2: wanted codes from 0 to 10, or -1 to draw one, got 11',
    ],
    [
      'forced maps of another size',
      { forced: [1, 2, 3, 5, 5].map((side) => tf.zeros([2, side * side], 'int32')) },
      'mvarSampler: forced: map 4: wanted shape [B=2, n=36], got [2, 25]',
    ],
  ])('refuses %s', (_, more, sentence) => {
    const sampler = mvarSampler(markov, coding);
    const { y = int32([2], 0, 1), noise = drawTokenNoise(new Rng('bad'), 2, markov), ...options } = more;
    const model = { params: drawnParams(markov, 'bad'), codes: drawnQuantizer(coding, 'bad'), y };
    expect(() => sampler.sample(model, noise, options)).toThrow(sentence);
  });

  it('filters refuse what lies outside of their range', () => {
    expect(() => filterLogits(tf.zeros([1, 1, 4]), { topK: 5 })).toThrow(
      'filterLogits: topK: wanted an integer at least 0 and at most 4, got 5',
    );
    expect(() => filterLogits(tf.zeros([1, 1, 4]), { topP: -0.1 })).toThrow('filterLogits: topP');
  });
});

describe('a state dict', () => {
  it('of VAR is one of MVAR: the same names; masks and tables are passed over', async () => {
    const tensors = await toHostTree(initMvar(new Rng('var'), causal) as unknown as Tree);
    const buffers = {
      lvl_1L: { dtype: 'int32' as const, shape: [1, 75], data: new Int32Array(75) },
      attn_bias_for_masking: { dtype: 'float32' as const, shape: [1, 1, 75, 75], data: new Float32Array(75 * 75).fill(-Infinity) },
      'blocks.0.attn.zero_k_bias': { dtype: 'float32' as const, shape: [16], data: new Float32Array(16) },
    };
    const params = mvarFromStateDict({ ...tensors, ...buffers }, markov);
    expect(await toHostTree(params as unknown as Tree)).toEqual(tensors);
  });

  it('that does not fit is refused by name', async () => {
    const tensors = await toHostTree(initMvar(new Rng('bad'), markov) as unknown as Tree);
    const without = Object.fromEntries(Object.entries(tensors).filter(([name]) => name !== 'head.bias'));
    expect(() => mvarFromStateDict(without, markov)).toThrow('missing head.bias');
    const { pos_start: _, 'blocks.0.ffn.fc1.weight': __, ...fewer } = tensors;
    for (const name of ['pos_start', 'blocks.0.ffn.fc1.weight']) expect(() => mvarFromStateDict(fewer, markov)).toThrow(name);
    expect(() => mvarFromStateDict({ ...tensors, other: tensors['head.bias']! }, markov)).toThrow('not of this model other');
    expect(() => mvarFromStateDict(tensors, { ...markov, numClasses: 4 })).toThrow(
      'misshapen class_emb.weight (wanted float32 [5, 16], got float32 [4, 16])',
    );
    expect(() =>
      tokenizerFromStateDict({}, { autoencoder: {}, quantizer: { ladder: [...ladders[256]], codes: 4096, channels: 32 } }),
    ).toThrow('encoder.conv_in.weight');
  });
});

describe('published settings', () => {
  it('have the windows of the paper', () => {
    expect(mvarConfig.parse(publishedMvar(16, { ladder: ladders[256] }))).toMatchObject({
      refineStep: 8,
      kernelSize: 7,
      width: 1024,
      heads: 16,
    });
    expect(publishedMvar(16, { ladder: ladders[512] }).refineStep).toBe(6);
  });
});
