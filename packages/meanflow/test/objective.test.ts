import { Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  adaptiveWeight,
  conditionalVelocity,
  flowMatchingLoss,
  integrateVelocity,
  interpolate,
  uniformGrid,
  weightedError,
} from '@atelier/diffusion';
import {
  instantaneousVelocity,
  averageVelocityAndDerivative,
  flowStep,
  fromTimePair,
  meanFlowLoss,
  sampleMeanFlow,
  splitByTimes,
  totalDerivative,
} from '../src/index.ts';
import { testBatch, testNetwork, testParams, type TestParams } from './networks.ts';

const options = { p: 0.75, c: 0.001 };

beforeAll(async () => {
  await useEngine();
});

describe('the loss', () => {
  it('is the same for a network of (t, r) as for one of (t, h)', () => {
    const rng = new Rng('pair');
    const network = testNetwork(testParams(rng, 6));
    const batch = testBatch(rng, [6, 3, 2], 2);
    const pair = fromTimePair((z, t, r, y) => network(z, t, tf.sub(t, r), y));
    const [a, b] = [meanFlowLoss(network, batch, options), meanFlowLoss(pair, batch, options)];
    for (const key of ['loss', 'u', 'dudt', 'target'] as const) expectClose(b[key], a[key], { rel: 1e-5, max: 1e-5 }, key);
  });

  it('works inside tf.variableGrads, with the gradients of valueAndGrad', () => {
    const rng = new Rng('variables');
    const params = testParams(rng, 6);
    const batch = testBatch(rng, [6, 3, 2], 2);
    const variables = Object.fromEntries(Object.entries(params).map(([key, value]) => [key, tf.variable(value)])) as never as Record<
      keyof TestParams,
      ReturnType<typeof tf.variable>
    >;
    const { grads } = tf.variableGrads(() => meanFlowLoss(testNetwork(variables), batch, options).loss as ReturnType<typeof tf.scalar>);
    const wanted = tf.tidy(() =>
      valueAndGrad((p: TestParams) => ({ loss: meanFlowLoss(testNetwork(p), batch, options).loss, aux: {} }), params),
    ).grads;
    for (const key of Object.keys(params) as (keyof TestParams)[])
      expectClose(grads[variables[key].name]!, wanted[key], { rel: 1e-5, max: 1e-6 }, key);
  });

  it('uses a given velocity as target and for the JVP, or a separate velocity for the JVP', () => {
    const rng = new Rng('velocity');
    const network = testNetwork(testParams(rng, 6));
    const batch = testBatch(rng, [6, 3, 2]);
    const [velocity, tangent] = [rng.normal([6, 3, 2]), rng.normal([6, 3, 2])];
    const at = { z: interpolate(batch.x, batch.e, batch.t), t: batch.t, r: batch.r, y: batch.y };
    const derivative = (along: Tensor): Tensor => averageVelocityAndDerivative(network, { ...at, tangent: along }).dudt;
    const guided = meanFlowLoss(network, { ...batch, velocity }, options);
    expectClose(guided.dudt, derivative(velocity), { rel: 1e-6, max: 1e-6 });
    expectClose(guided.velocity, velocity, {});
    expectClose(meanFlowLoss(network, { ...batch, velocity, tangent }, options).dudt, derivative(tangent), { rel: 1e-6, max: 1e-6 });
  });

  it('reports the means of rows with r = t and of rows with r < t', () => {
    const [t, r] = [tf.tensor1d([0.5, 0.5, 0.9, 1]), tf.tensor1d([0.5, 0.2, 0.9, 0])];
    const split = splitByTimes(tf.tensor1d([1, 2, 3, 4]), { t, r });
    const read = (x: Tensor): number => x.dataSync()[0]!;
    expect([read(split.equal), read(split.moving), read(split.equalRows), read(split.movingRows)]).toEqual([2, 3, 2, 2]);
    expect(read(splitByTimes(tf.tensor1d([1, 2, 3, 4]), { t, r: t }).moving)).toBeNaN();
  });

  it('neither the loss nor the samplers leave a tensor behind', async () => {
    const rng = new Rng('leak');
    const params = testParams(rng, 6);
    const batch = testBatch(rng, [4, 3, 2], 1);
    await expectNoLeak(() => meanFlowLoss(testNetwork(params), batch, { ...options, movingRows: [1, 4] }));
    await expectNoLeak(() => flowMatchingLoss(instantaneousVelocity(testNetwork(params)), batch, options));
    await expectNoLeak(() => sampleMeanFlow(testNetwork(params), batch.e, { grid: uniformGrid(3) }));
    await expectNoLeak(() =>
      integrateVelocity(instantaneousVelocity(testNetwork(params)), batch.e, { grid: uniformGrid(2), method: 'heun' }),
    );
  });
});

describe('grids', () => {
  it('are equally spaced from 1 to 0', () => {
    expect(uniformGrid(1)).toEqual([1, 0]);
    expect(uniformGrid(4)).toEqual([1, 0.75, 0.5, 0.25, 0]);
  });

  it('with two equal times, as in the official two-step default, are refused; a jump between equal times returns its input', () => {
    const network = testNetwork(testParams(new Rng('trap'), 6));
    const e = new Rng('noise').normal([3, 3, 2]);
    const one = sampleMeanFlow(network, e);
    expectClose(flowStep(network, one, 0, 0), one, {});
    expect(() => sampleMeanFlow(network, e, { grid: [1, 0, 0] })).toThrow(
      /sampleMeanFlow: grid: wanted at least two strictly decreasing times in \[0, 1\], got \[1, 0, 0\]/,
    );
  });
});

describe('bad input', () => {
  const network = testNetwork(testParams(new Rng('bad'), 6));
  const batch = () => testBatch(new Rng('batch'), [4, 3, 2]);
  const at = () => ({ z: tf.zeros([4, 3, 2]), t: tf.ones([4]), r: tf.zeros([4]), tangent: tf.zeros([4, 3, 2]) });

  it.each([
    [
      'noise of another shape',
      () => meanFlowLoss(network, { ...batch(), e: tf.zeros([4, 6]) }, options),
      /meanFlowLoss: e: wanted shape \[4, 3, 2\], got \[4, 6\]/,
    ],
    [
      'data without a batch axis',
      () => meanFlowLoss(network, { ...batch(), x: tf.zeros([4]) }, options),
      /meanFlowLoss: x: wanted a batch \[B, …\] of rank 2 or more, got \[4\]/,
    ],
    [
      'times of another batch',
      () => meanFlowLoss(network, { ...batch(), t: tf.ones([3]) }, options),
      /meanFlowLoss: t: wanted shape \[B=4\], got \[3\]/,
    ],
    [
      'times of rank 2',
      () => meanFlowLoss(network, { ...batch(), r: tf.zeros([4, 1]) }, options),
      /meanFlowLoss: r: wanted shape \[B=4\], got \[4, 1\]/,
    ],
    [
      'labels of another batch',
      () => meanFlowLoss(network, { ...batch(), y: tf.zeros([1], 'int32') }, options),
      /meanFlowLoss: y: wanted shape \[B=4\], got \[1\]/,
    ],
    [
      'a velocity of another shape',
      () => meanFlowLoss(network, { ...batch(), velocity: tf.zeros([4, 3]) }, options),
      /velocity: wanted shape \[4, 3, 2\], got \[4, 3\]/,
    ],
    [
      'a tangent of another shape',
      () => meanFlowLoss(network, { ...batch(), tangent: tf.zeros([4, 3]) }, options),
      /tangent: wanted shape \[4, 3, 2\], got \[4, 3\]/,
    ],
    [
      'no options',
      () => meanFlowLoss(network, batch(), undefined as never),
      /meanFlowLoss: options: wanted a record of p, c, .*, got nothing/,
    ],
    ['options without p', () => meanFlowLoss(network, batch(), {} as never), /adaptiveWeight: p: wanted a number, got nothing/],
    [
      'an unknown option of the loss',
      () => meanFlowLoss(network, batch(), { p: 0, c: 0, movingRow: [0, 1] } as never),
      /meanFlowLoss: unknown option 'movingRow': the nearest is 'movingRows'/,
    ],
    [
      'an unknown option of the sampler',
      () => sampleMeanFlow(network, batch().e, { steps: 2 } as never),
      /sampleMeanFlow: unknown option 'steps'/,
    ],
    ['a negative p', () => meanFlowLoss(network, batch(), { p: -1, c: 0.1 }), /adaptiveWeight: p: /],
    ['a c that is no number', () => flowMatchingLoss(instantaneousVelocity(network), batch(), { p: 1, c: NaN }), /adaptiveWeight: c: /],
    [
      'rows outside the batch',
      () => meanFlowLoss(network, batch(), { ...options, movingRows: [2, 5] }),
      /movingRows: wanted whole numbers 0 <= start <= end <= 4, got \[2, 5\]/,
    ],
    [
      'a network of another output',
      () => meanFlowLoss(() => tf.zeros([4, 6]), batch(), options),
      /output of the network: wanted shape \[4, 3, 2\], got \[4, 6\]/,
    ],
    [
      'a flow-matching network of another output',
      () => flowMatchingLoss(() => tf.zeros([4]), batch(), options),
      /flowMatchingLoss: output of the network/,
    ],
    [
      'a direction of zeros',
      () => averageVelocityAndDerivative(network, at(), { direction: { z: 0, r: 0, t: 0 } }),
      /wanted at least one tangent that is not null/,
    ],
    [
      'a tangent of another shape in the derivative',
      () => totalDerivative((z, t, h) => network(z, t, h), { ...at(), tangent: tf.zeros([4]) }),
      /totalDerivative: tangent: wanted shape \[4, 3, 2\], got \[4\]/,
    ],
    [
      'squared errors that are no vector',
      () => adaptiveWeight(tf.zeros([2, 2]), options),
      /adaptiveWeight: squaredError: wanted shape \[B\], got \[2, 2\]/,
    ],
    [
      'targets of another shape',
      () => weightedError(tf.zeros([2, 2]), tf.zeros([2, 3]), options),
      /weightedError: target: wanted shape \[2, 2\], got \[2, 3\]/,
    ],
    [
      'a figure of another batch',
      () => splitByTimes(tf.zeros([3]), { t: tf.ones([4]), r: tf.ones([4]) }),
      /splitByTimes: t: wanted shape \[B=3\], got \[4\]/,
    ],
    [
      'ends of different shapes',
      () => conditionalVelocity(tf.zeros([2, 2]), tf.zeros([2])),
      /conditionalVelocity: e: wanted shape \[2, 2\], got \[2\]/,
    ],
    ['no steps', () => uniformGrid(0), /uniformGrid: steps: wanted a whole number of at least 1, got 0/],
    [
      'an increasing grid',
      () => sampleMeanFlow(network, tf.zeros([2, 6]), { grid: [0, 1] }),
      /strictly decreasing times in \[0, 1\], got \[0, 1\]/,
    ],
    [
      'a grid beyond the noise',
      () => integrateVelocity(instantaneousVelocity(network), tf.zeros([2, 6]), { grid: [1.5, 0] }),
      /integrateVelocity: grid: .*got \[1.5, 0\]/,
    ],
    ['a grid with NaN', () => sampleMeanFlow(network, tf.zeros([2, 6]), { grid: [1, NaN, 0] }), /got \[1, NaN, 0\]/],
    [
      'an unknown method',
      () => integrateVelocity(instantaneousVelocity(network), tf.zeros([2, 6]), { grid: [1, 0], method: 'rk4' as never }),
      /method: wanted 'euler' or 'heun', got 'rk4'/,
    ],
    [
      'noise without a batch axis',
      () => sampleMeanFlow(network, tf.zeros([2])),
      /sampleMeanFlow: e: wanted noise \[B, …\] of rank 2 or more, got \[2\]/,
    ],
    [
      'labels of another batch when sampling',
      () => sampleMeanFlow(network, tf.zeros([2, 6]), { y: tf.zeros([3], 'int32') }),
      /sampleMeanFlow: y: wanted shape \[B=2\], got \[3\]/,
    ],
    [
      'a sampled network of another output',
      () => sampleMeanFlow(() => tf.zeros([2]), tf.zeros([2, 6])),
      /flowStep: output of the network: wanted shape \[2, 6\], got \[2\]/,
    ],
  ])('%s is refused', (_, call, message) => expect(call).toThrow(message));
});

describe('adaptive weight at its border', () => {
  it('refuses settings for which the weight of a sample without error is not a number', () => {
    const still = { x: tf.zeros([2, 3]), e: tf.zeros([2, 3]), t: tf.ones([2]), r: tf.ones([2]) };
    const network = (z: Tensor): Tensor => tf.zerosLike(z);
    for (const options of [
      { p: 1, c: 0 },
      { p: 1, c: 1e-50 },
      { p: 0.5, c: 0 },
      { p: 4, c: 1e-10 },
    ])
      expect(() => meanFlowLoss(network, still, options)).toThrow('adaptiveWeight: c: wanted c so far above 0');
    for (const options of [
      { p: 1, c: 1e-30 },
      { p: 0, c: 0 },
    ])
      expect(meanFlowLoss(network, still, options).loss.dataSync()[0]).toBe(0);
  });
});
