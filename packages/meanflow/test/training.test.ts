import { adamW, linearDecay, type AdamState } from '@atelier/nn';
import { compile, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  instantaneousVelocity,
  drawTimes,
  initPointNetwork,
  meanFlowLoss,
  pointNetwork,
  sampleMeanFlow,
  timesFromDraws,
  type PointNetworkParams,
  type TimeDraws,
  type TimeSamplerConfig,
} from '../src/index.ts';
import { integrateVelocity, uniformGrid } from '@atelier/diffusion';

const [mean, std, batch] = [[0.7, -0.4], 0.5, 256];
const sampler = (movingShare: number): TimeSamplerConfig => {
  const law = { kind: 'logit-normal' as const, mean: 0, std: 1.6 };
  return { rule: 'bernoulli', t: law, r: law, movingShare };
};
const optimizer = adamW();

type State = { params: PointNetworkParams; adam: AdamState };
type Draws = { x: Tensor; e: Tensor; t: Tensor; r: Tensor; equal: Tensor };

const stepOf =
  (config: TimeSamplerConfig) =>
  (state: State, { x, e, ...draws }: Draws, rate: Tensor): State & { loss: Tensor } => {
    const { loss, grads } = valueAndGrad((params: PointNetworkParams) => {
      const parts = meanFlowLoss(pointNetwork(params), { x, e, ...timesFromDraws(draws as TimeDraws, config) }, { p: 0, c: 0 });
      return { loss: parts.loss, aux: {} };
    }, state.params);
    const { params, state: adam } = optimizer.update(grads, state.adam, state.params, rate);
    return { params, adam, loss };
  };

const draw = (rng: Rng, config: TimeSamplerConfig): Draws => {
  const times = drawTimes(rng.child('times'), batch, config);
  const x = tf.tidy(() => tf.add(tf.mul(rng.child('data').normal([batch, 2]), std), tf.tensor(mean)));
  return { x, e: rng.child('noise').normal([batch, 2]), ...(times as Required<TimeDraws>) };
};

const start = (): State => {
  const params = initPointNetwork(new Rng('init'), { dimension: 2, width: 64, depth: 2 });
  return { params, adam: optimizer.init(params) };
};

/** 600 compiled steps on a Gaussian, learning rate 2e-3 falling to 0. */
function train(movingShare: number): PointNetworkParams {
  const config = sampler(movingShare);
  const step = compile(stepOf(config), { donate: [0, 1, 2] });
  const rate = linearDecay(2e-3, 600);
  let state = start();
  for (let i = 0; i < 600; i++) {
    const { loss, ...next } = step(state, draw(new Rng('train').child(i), config), tf.scalar(rate(i)));
    loss.dispose();
    state = next;
  }
  step.dispose();
  return state.params;
}

const statistics = (samples: Tensor): { mean: number[]; std: number } => {
  const { mean: m, variance } = tf.moments(samples, 0);
  return { mean: Array.from(m.dataSync()), std: Math.sqrt(tf.mean(variance).dataSync()[0]!) };
};

beforeAll(async () => {
  await useEngine();
});

describe('training on a Gaussian', () => {
  it('invariant 13: one step of flow matching collapses to the mean, one step of MeanFlow keeps the spread', () => {
    const e = new Rng('sample').normal([2048, 2]);
    const flow = pointNetwork(train(0));
    const meanFlow = pointNetwork(train(0.5));
    const [one, many, ours] = [
      integrateVelocity(instantaneousVelocity(flow), e, { grid: [1, 0] }),
      integrateVelocity(instantaneousVelocity(flow), e, { grid: uniformGrid(32) }),
      sampleMeanFlow(meanFlow, e),
    ].map(statistics);
    for (const { mean: m } of [one!, many!, ours!]) m.forEach((mi, i) => expect(Math.abs(mi - mean[i]!)).toBeLessThan(0.1));
    expect(many!.std).toBeGreaterThan(1.7 * one!.std);
    expect(ours!.std).toBeGreaterThan(1.7 * one!.std);
    expect(ours!.std).toBeGreaterThan(0.25);
  });

  it('a compiled step equals an eager step, and neither leaves a tensor behind', async () => {
    const config = sampler(0.5);
    const [state, draws, rate] = [start(), draw(new Rng('step'), config), tf.scalar(1e-3)];
    const eager = tf.tidy(() => {
      const { params, adam, loss } = stepOf(config)(state, draws, rate);
      return { weight: tf.clone(params.layers[1]!.weight), step: tf.clone(adam.step), loss };
    });
    const compiled = compile(stepOf(config));
    const once = compiled(state, draws, rate);
    expectClose(once.loss, eager.loss, { rel: 1e-5 });
    expectClose(once.params.layers[1]!.weight, eager.weight, { max: 1e-4 });
    expectClose(once.adam.step, eager.step, {});
    await expectNoLeak(() => compiled(state, draws, rate));
  });
});
