import { Rng, tf, useEngine } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  addNoise,
  classify,
  denoise,
  dropLabels,
  initTarFlow,
  loadTarFlow,
  patchify,
  publishedTarFlows,
  sequentialSampler,
  tarflowForward,
  tarflowParameterCount,
  tarflowSchedule,
  unpatchify,
} from '../src/index.ts';
import { flattenTree, toHost } from '@atelier/tensor';
import { randomModel, tiny } from './tiny-model.ts';

beforeAll(async () => {
  await useEngine();
});

describe('settings', () => {
  it('say what is wrong with them', () => {
    expect(() => initTarFlow(new Rng(1), { ...tiny, imageSize: 9 })).toThrow(
      'wanted a patch size that divides the image size [9, 9], got 2',
    );
    expect(() => initTarFlow(new Rng(1), { ...tiny, headSize: 5 })).toThrow('wanted a divisor of the width 16, got 5');
    expect(() => initTarFlow(new Rng(1), { ...tiny, depth: 3 } as never)).toThrow('depth');
  });

  it('of the published models have the stated numbers of parameters', () => {
    const counts = Object.fromEntries(
      Object.entries(publishedTarFlows).map(([name, { settings }]) => [name, tarflowParameterCount(settings)]),
    );
    expect(counts).toMatchObject({
      'afhq-256': 463_481_856,
      'imagenet-128': 823_927_552,
      'imagenet-64-uncond': 460_142_784,
      'imagenet-64': 466_286_784,
      'imagenet-64-patch-4': 817_636_096,
      'imagenet-64-bpd': 460_142_784,
    });
  });
});

describe('images, labels and noise', () => {
  const settings = { ...tiny, numClasses: 3 };

  it('that do not fit are refused in a sentence', () => {
    const model = randomModel('bad input', settings);
    const x = tf.zeros([2, 4, 6, 3]);
    expect(() => patchify(tf.zeros([1, 5, 6, 3]), 2)).toThrow('wanted height and width divisible by the patch size 2, got 5 and 6');
    expect(() => unpatchify(tf.zeros([1, 6, 13]), { imageSize: [4, 6], patchSize: 2 })).toThrow(
      'wanted a width divisible by patchSize² = 4, got 13',
    );
    expect(() => tarflowForward(model, tf.zeros([2, 6, 4, 3]), settings)).toThrow('tarflowForward: x');
    expect(() => tarflowForward(model, x, settings, tf.zeros([2]))).toThrow('tarflowForward: y: wanted int32 labels, got float32');
    expect(() => tarflowForward(model, x, { ...settings, blocks: 4 })).toThrow('tarflowForward: params: wanted 4 blocks, got 3');
    expect(() => tarflowForward(model, x, tiny)).toThrow('tarflowForward: params: wanted 0 classes, got 3');
    expect(() => denoise(model, x, settings, { sigma: -1 })).toThrow('denoise: sigma');
    expect(() => addNoise(x, tf.zeros([2, 4, 6, 1]), 0.1)).toThrow('addNoise: noise: wanted the shape of x [2, 4, 6, 3], got [2, 4, 6, 1]');
    expect(() => dropLabels(tf.zeros([2], 'int32'), tf.zeros([2], 'int32'))).toThrow('dropLabels: dropped: wanted bool, got int32');
    expect(() => classify(randomModel('no classes', tiny), x, tiny)).toThrow('classify: wanted a model with classes, got one without');
    expect(() => tarflowSchedule({ warmUpSteps: -1, totalSteps: 5 })).toThrow('tarflowSchedule');
  });

  it('labels out of range stop a sampler before it starts', () => {
    const model = randomModel('labels', settings);
    const sampler = sequentialSampler(settings);
    const noise = tf.zeros([2, 6, 12]);
    for (const label of [3, -2])
      expect(() => sampler(model, noise, { y: tf.tensor1d([0, label], 'int32') })).toThrow(
        `sequentialSampler: y: wanted labels from -1 (none) to 2, got ${label}`,
      );
    expect(() => sampler(model, tf.zeros([2, 5, 12]))).toThrow('sequentialSampler: noise');
    expect(() => sampler(model, noise, { guidance: { weight: -1 } })).toThrow('sequentialSampler: guidance');
    expect(sampler.graphs).toBe(0);
  });

  it('guidance on a model without classes says that it does nothing', () => {
    const sampler = sequentialSampler(tiny);
    const { warnings } = sampler(randomModel('warned', tiny), tf.zeros([1, 6, 12]), { guidance: { weight: 2 } });
    expect(warnings).toEqual([
      'guidance 2 has no effect: the model has no classes and the attention temperature is 1, so both branches are the same',
    ]);
    sampler.dispose();
  });
});

describe('state dicts', () => {
  it('load by name, without the mask, and name all that is wrong in one error', async () => {
    const model = randomModel('state dict', tiny);
    const entries = await Promise.all(Object.entries(flattenTree(model)).map(async ([name, leaf]) => [name, await toHost(leaf)] as const));
    const good = Object.fromEntries(entries);
    const mask = { 'blocks.0.attn_mask': await toHost(tf.zeros([6, 6])) };
    expect(Object.keys(flattenTree(loadTarFlow({ ...good, ...mask }, tiny))).sort()).toEqual(Object.keys(good).sort());
    const { 'blocks.1.proj_in.bias': _, ...bad } = good;
    const wrong = {
      ...bad,
      'blocks.9.proj_in.bias': good['blocks.0.proj_in.bias']!,
      'blocks.2.pos_embed': await toHost(tf.zeros([5, 16])),
    };
    expect(() => loadTarFlow(wrong, tiny)).toThrow(
      /blocks\.1\.proj_in\.bias.*blocks\.9\.proj_in\.bias.*blocks\.2\.pos_embed \(wanted float32 \[6, 16\], got float32 \[5, 16\]\)/,
    );
  });
});
