import { compile, flattenTree, Rng, tf, toHostTree, useEngine, valueAndGrad, type HostTensor, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  addNoise,
  checkLabelRange,
  classify,
  conditioner,
  denoise,
  dequantize,
  drawNoise,
  dropLabels,
  initTarFlow,
  initTraining,
  loadTarFlow,
  officialTarFlowConfig,
  modelOfState,
  negativeLogLikelihood,
  patchify,
  publishedTarFlows,
  reverseBlock,
  sequentialSampler,
  tarflowForward,
  tarflowLoss,
  tarflowParameterCount,
  tarflowParameters,
  tarflowSchedule,
  tokenContext,
  tokenSizes,
  trainingStep,
  unpatchify,
  updateVariance,
} from '../src/index.ts';
import { labels, tiny } from './tiny-model.ts';

beforeAll(async () => {
  await useEngine();
});

describe('published models', () => {
  it('have the published numbers of tokens, values and parameters', () => {
    const table: Record<keyof typeof publishedTarFlows, [T: number, D: number, parameters: number | null]> = {
      'afhq-256': [1024, 192, 463_481_856],
      'imagenet-128': [1024, 48, 823_927_552],
      'imagenet-64-uncond': [1024, 12, 460_142_784],
      'imagenet-64': [1024, 12, 466_286_784],
      'imagenet-64-patch-4': [256, 48, 817_636_096],
      'imagenet-64-bpd': [1024, 12, 460_142_784],
      mnist: [49, 16, null], // not published
    };
    expect(Object.keys(publishedTarFlows)).toEqual(Object.keys(table));
    for (const [name, [T, D, parameters]] of Object.entries(table)) {
      const { settings } = publishedTarFlows[name as keyof typeof table];
      const { inChannels = 3, imageSize, patchSize } = settings as { inChannels?: number; imageSize: number; patchSize: number };
      expect([(imageSize / patchSize) ** 2, inChannels * patchSize ** 2]).toEqual([T, D]);
      if (parameters !== null) expect(tarflowParameterCount(settings), name).toBe(parameters);
    }
  });

  it('count what is allocated', () => {
    const { model, config } = tiny();
    const { var: _, ...params } = model;
    const count = Object.values(flattenTree(params)).reduce((sum, leaf) => sum + leaf.size, 0);
    expect(tarflowParameterCount(config)).toBe(count);
  });

  it('have the official initial values: the last weights are zero, and each block is one affine map of all tokens except the first', () => {
    const { config } = tiny();
    const model = initTarFlow(new Rng('start'), config);
    const bias = model.blocks[1]!.proj_out.bias;
    expect(Array.from(model.blocks[1]!.proj_out.weight.dataSync()).every((value) => value === 0)).toBe(true);
    expect(tf.max(tf.abs(bias)).dataSync()[0]).toBeGreaterThan(0.05);
    expect(tf.max(tf.abs(bias)).dataSync()[0]).toBeLessThanOrEqual(16 ** -0.5);
    expect(Array.from(model.var.dataSync()).every((value) => value === 1)).toBe(true);
  });
});

describe('training', () => {
  it('lowers the loss, compiled, and leaves no tensor behind', async () => {
    const flow = tiny();
    const rng = new Rng('train');
    const step = compile(trainingStep(flow.config, 0.05), { donate: [0] });
    let state = initTraining(initTarFlow(rng.child('init'), flow.config));
    const x = tf.mul(flow.images(4), 0.5);
    const y = dropLabels(labels(0, 1, 2, 0), tf.tensor1d([false, false, true, false], 'bool'));
    expect(Array.from(y.dataSync())).toEqual([0, 1, -1, 0]);
    const losses: number[] = [];
    const once = (i: number): void => {
      const noise = drawNoise(rng.child(i), x.shape, 0.05);
      const rate = tf.scalar(3e-3);
      const out = step(state, { x, noise, y }, rate);
      losses.push(out.loss.dataSync()[0]!);
      tf.dispose([out.loss, noise, rate]);
      state = out.state;
    };
    for (let i = 0; i < 30; i++) once(i);
    expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.2);
    await expectNoLeak(() => once(30));
    const { images } = sequentialSampler(flow.config).sample(modelOfState(state), flow.noise(2), { y: labels(0, 1) });
    expect(Array.from(images.dataSync()).every(Number.isFinite)).toBe(true);
    step.dispose();
  });

  it('reaches every parameter', () => {
    const { model, config, images } = tiny();
    const { var: _, ...params } = model;
    const { grads } = valueAndGrad((at) => ({ loss: tarflowLoss(at, images(3), config, labels(0, 2, -1)).loss, aux: {} }), params);
    const named = flattenTree(grads);
    expect(Object.keys(named)).toEqual(Object.keys(flattenTree(params)));
    for (const [name, gradient] of Object.entries(named)) expect(tf.max(tf.abs(gradient)).dataSync()[0], name).toBeGreaterThan(1e-7);
  });

  it('follows the variance only in models that preserve the volume', () => {
    for (const volumePreserving of [true, false]) {
      const flow = tiny({ volumePreserving, numClasses: 0 });
      const before = flow.model.var.clone();
      const step = trainingStep(flow.config, 0);
      const x = flow.images(2);
      const { state } = step(initTraining(flow.model), { x, noise: tf.zerosLike(x) }, tf.scalar(0));
      const expected = volumePreserving ? updateVariance(before, tarflowForward(flow.model, x, flow.config).z) : before;
      expectClose(state.var, expected, { abs: 1e-6 });
      expect(tf.max(tf.abs(tf.sub(state.var, before))).dataSync()[0]! > 0).toBe(volumePreserving);
    }
  });

  it('warms the rate up to the top and cools it down to the bottom', () => {
    const rate = tarflowSchedule({ warmUpSteps: 10, totalSteps: 110 });
    expectClose([rate(0), rate(5), rate(10), rate(60), rate(110)], [1e-6, 5.05e-5, 1e-4, 5.05e-5, 1e-6], { rel: 1e-6 });
  });
});

describe('the sampler', () => {
  it('makes one graph for all blocks and all guidance numbers, and leaves no tensor behind', async () => {
    const flow = tiny();
    const sampler = sequentialSampler(flow.config);
    const [z, y] = [flow.noise(2), labels(0, 1)];
    await expectNoLeak(() => sampler.sample(flow.model, z, { y }).images);
    const graphs = sampler.graphs;
    await expectNoLeak(() => sampler.sample(flow.model, z, { y, guidance: { weight: 1 } }).images);
    await expectNoLeak(
      () => sampler.sample(flow.model, z, { y, guidance: { weight: 2, temperature: 3, annealed: true, what: 'b' } }).images,
    );
    expect(sampler.graphs).toBe(graphs + 1);
    const { images } = sampler.sample(flow.model, z, { y });
    const steps = [...sampler.steps(flow.model, z, { y })].map((step) => step.images);
    expect(steps.length).toBe(flow.config.blocks + 1);
    expectClose(steps.at(-1)!, images, { abs: 0 });
    await expectNoLeak(() => [...sampler.steps(flow.model, z, { y })].map((step) => step.images));
    sampler.dispose();
    expect(sampler.graphs).toBe(0);
  });

  it('starts from ε·√var', () => {
    const flow = tiny({ numClasses: 0 });
    const sampler = sequentialSampler(flow.config);
    const z = flow.noise(2);
    const half = { ...flow.model, var: tf.fill(flow.model.var.shape, 0.25) };
    expectClose(sampler.sample(half, z, {}).images, sampler.sample(flow.model, tf.mul(z, 0.5), {}).images, { abs: 1e-6 });
    sampler.dispose();
  });

  it('has functions that leave nothing behind', async () => {
    const { model, config, images } = tiny();
    const x = images(2);
    const y = labels(0, -1);
    await expectNoLeak(() => denoise(model, x, config, { sigma: 0.1, y }));
    await expectNoLeak(() => initTarFlow(new Rng(1), config));
    await expectNoLeak(() => loadTarFlow(flattenTree(model), config));
  });
});

describe('what does not fit is refused in one sentence', () => {
  it('settings', () => {
    const base = { imageSize: [4, 6] as [number, number], patchSize: 2, width: 16, headSize: 8, blocks: 1, layers: 1 };
    const refused = (change: object, message: string): void =>
      expect(() => tarflowParameters({ ...base, ...change }), message).toThrow(message);
    refused({ patchSize: 4 }, 'wanted a patch size that divides the image size [4, 6], got 4');
    refused({ headSize: 5 }, 'wanted a divisor of the width 16, got 5');
    refused({ blocks: 0 }, 'tarflowParameters: blocks');
    refused({ numClasses: -1 }, 'tarflowParameters: numClasses');
    refused({ depth: 2 }, 'depth');
  });

  it('images, tokens and labels', () => {
    const { model, config, images, noise } = tiny();
    const x = images(2);
    const { T, D } = tokenSizes(config);
    expect(() => patchify(tf.zeros([1, 5, 6, 3]), 2)).toThrow(
      'patchify: x: wanted height and width divisible by the patch size 2, got 5 and 6',
    );
    expect(() => patchify(x, 0.5)).toThrow('patchify: patchSize');
    expect(() => unpatchify(tf.zeros([1, 6, 12]), { imageSize: [4, 5], patchSize: 2 })).toThrow('unpatchify: imageSize: wanted');
    expect(() => unpatchify(tf.zeros([1, 6, 13]), { imageSize: [4, 6], patchSize: 2 })).toThrow(
      'wanted a width divisible by patchSize² = 4, got 13',
    );
    expect(() => unpatchify(tf.zeros([1, 5, 12]), { imageSize: [4, 6], patchSize: 2 })).toThrow('unpatchify: tokens');
    expect(() => tarflowForward(model, tf.zeros([2, 6, 4, 3]), config)).toThrow('tarflowForward: x');
    expect(() => tarflowForward(model, x, config, labels(0))).toThrow('tarflowForward: y');
    expect(() => tarflowForward(model, x, config, tf.tensor1d([0, 1]))).toThrow('tarflowForward: y: wanted int32 labels, got float32');
    expect(() => tarflowForward({ blocks: model.blocks.slice(1) }, x, config)).toThrow('tarflowForward: params: wanted 3 blocks, got 2');
    expect(() => tarflowForward(model, x, { ...config, numClasses: 2 })).toThrow('tarflowForward: params: wanted 2 classes, got 3');
    expect(() => checkLabelRange(labels(0, -2), config, 'here')).toThrow('here: y: wanted labels from -1 (none) to 2, got -2');
    const sampler = sequentialSampler(config);
    const z = noise(2);
    for (const wrong of [3, -2])
      expect(() => sampler.sample(model, z, { y: labels(0, wrong) })).toThrow(
        `sequentialSampler: y: wanted labels from -1 (none) to 2, got ${wrong}`,
      );
    expect(() => sampler.sample(model, tf.zeros([2, T, D + 1]), {})).toThrow('sequentialSampler: noise');
    expect(() => sampler.sample({ ...model, var: tf.ones([T]) }, z, {})).toThrow('sequentialSampler: var');
    expect(() => sampler.sample(model, z, { guidance: { weight: -1 } })).toThrow('sequentialSampler: guidance: weight');
    expect(() => sampler.sample(model, z, { guidance: { weight: 1, temperature: 0 } })).toThrow('sequentialSampler: guidance: temperature');
    expect(() => sampler.sample(model, z, { guidance: { weight: 1, what: 'c' as never } })).toThrow('sequentialSampler: guidance: what');
    sampler.dispose();
    const free = tiny({ numClasses: 0 });
    expect(() => tarflowForward(free.model, x, free.config, labels(0, 1))).toThrow('wanted no labels for a model without classes');
    expect(() => classify(free.model, x, free.config)).toThrow('classify: wanted a model with classes, got one without');
    expect(() => denoise(model, x, config, { sigma: -1 })).toThrow('denoise: sigma');
    expect(() => denoise(model, x, config, { sigma: 0.1, multiplier: NaN })).toThrow('denoise: multiplier');
    const clean = compile((y: Tensor) => denoise(model, x, config, { sigma: 0.1, y }));
    expectClose(clean(labels(0, 2)), denoise(model, x, config, { sigma: 0.1, y: labels(0, 2) }), { abs: 1e-5 });
    // What may be compiled does not look at the labels' values; the engine has no such row.
    expect(() => tarflowForward(model, x, config, labels(0, 3)).z.dataSync()).toThrow(/out of data bounds/);
    expect(() => clean(labels(0, 3)).dataSync()).toThrow(/out of data bounds/);
  });

  it('parts', () => {
    const { model, config, images, noise } = tiny();
    const p = model.blocks[0]!;
    const x = images(2);
    const z = noise(2);
    const context = tokenContext(p, 0);
    expect(() => conditioner(p, z, config, { context: tf.zeros([1, 5, 16]) })).toThrow('conditioner: context');
    expect(() => conditioner(p, z, config, { context, temperature: 0 })).toThrow('conditioner: temperature');
    expect(() => reverseBlock(p, z, config, { context: tf.zeros([1, 5, 16]) })).toThrow('reverseBlock: context');
    expect(() => negativeLogLikelihood(z, tf.zeros([3]))).toThrow('negativeLogLikelihood: logDet');
    expect(() => dequantize(x, tf.zeros([2]))).toThrow('dequantize: uniform: wanted the shape of the pixels [2, 4, 6, 3], got [2]');
    expect(() => addNoise(x, tf.zeros([2]), 0.1)).toThrow('addNoise: noise');
    expect(() => addNoise(x, x, -1)).toThrow('addNoise: level');
    expect(() => dropLabels(tf.zeros([2]), tf.zeros([2], 'bool'))).toThrow('dropLabels: y: wanted int32 labels, got float32');
    expect(() => dropLabels(labels(0, 1), labels(0, 1))).toThrow('dropLabels: dropped: wanted bool, got int32');
    expect(() => tarflowSchedule({ warmUpSteps: 5, totalSteps: 5 })).toThrow('tarflowSchedule: totalSteps');
    expect(() => tarflowSchedule({ warmUpSteps: -1, totalSteps: 5 })).toThrow('tarflowSchedule: warmUpSteps');
    expect(() => tarflowSchedule({ warmUpSteps: 1, totalSteps: 5, max: 0 })).toThrow('tarflowSchedule: max');
  });
});

describe('state dicts', () => {
  it('come back as they were, and masks in them are ignored', async () => {
    const { model, config } = tiny();
    const host = await toHostTree(model);
    const back = loadTarFlow(
      { ...host, 'blocks.0.attn_mask': { dtype: 'float32', shape: [6, 6], data: new Float32Array(36) } as HostTensor },
      config,
    );
    const [wanted, got] = [flattenTree(model), flattenTree(back)];
    expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort());
    for (const [name, leaf] of Object.entries(wanted)) expectClose(got[name]!, leaf, {}, name);
  });

  it('has its settings by their official names, as numbers or as texts', () => {
    const names = { img_size: '8', in_channels: 3, patch_size: '2', channels: 32, num_blocks: 4, layers_per_block: '2', num_classes: 0 };
    const wanted = { imageSize: [8, 8], patchSize: 2, width: 32, blocks: 4, layers: 2, numClasses: 0, expansion: 4 };
    expect(officialTarFlowConfig({ ...names, head_dim: '16', nvp: 'True' })).toMatchObject({
      ...wanted,
      headSize: 16,
      volumePreserving: false,
    });
    expect(officialTarFlowConfig({ ...names, channels: 64, nvp: false })).toMatchObject({ headSize: 64, volumePreserving: true });
    expect(() => officialTarFlowConfig({ ...names, num_blocks: undefined })).toThrow(/officialTarFlowConfig: blocks: wanted/);
    expect(() => officialTarFlowConfig({ ...names, patch_size: 'two' })).toThrow(/officialTarFlowConfig: patchSize: wanted/);
  });

  it('with missing, extra and misshapen tensors are refused, every one named', async () => {
    const { model, config } = tiny();
    const { 'blocks.0.proj_in.bias': _a, 'blocks.2.class_embed': _b, ...rest } = await toHostTree(model);
    const wrong = {
      ...rest,
      'blocks.3.proj_in.bias': rest['blocks.1.proj_in.bias']!,
      unknown: rest['var']!,
      'blocks.1.pos_embed': rest['blocks.1.proj_in.bias']!,
      var: { ...rest['var']!, shape: [12, 6] },
    };
    const before = tf.memory().numTensors;
    expect(() => loadTarFlow(wrong, config)).toThrow(
      'loadTarFlow: wanted the tensors of the model, got a state dict with missing blocks.0.proj_in.bias, blocks.2.class_embed; ' +
        'not of this model blocks.3.proj_in.bias, unknown; ' +
        'misshapen var (wanted float32 [6, 12], got float32 [12, 6]), blocks.1.pos_embed (wanted float32 [6, 16], got float32 [16])',
    );
    expect(tf.memory().numTensors).toBe(before);
  });
});
