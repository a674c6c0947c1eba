import { adamW, linearDecay } from '@atelier/nn';
import { compile, disposeTree, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import {
  instantaneousVelocity,
  drawTimes,
  initPointNetwork,
  meanFlowLoss,
  pointNetwork,
  sampleMeanFlow,
  timesFromDraws,
  type PointNetworkParams,
  type TimeSamplerConfig,
} from './src/index.ts';
import { integrateVelocity, uniformGrid } from '@atelier/diffusion';

// Eight Gaussians of deviation 0.1 on a ring of radius 1.5, learnt by flow matching (no row has r < t) and by MeanFlow (half of the rows have r < t).
await useEngine();
const law = { kind: 'logit-normal', mean: -0.4, std: 1 } as const;
const optimizer = adamW();
const [steps, batch] = [2000, 512];

function ring(rng: Rng, n: number): Tensor {
  const angles = Float32Array.from(rng.integers(n, 0, 8), (k) => (k * Math.PI) / 4);
  return tf.tidy(() => tf.add(tf.mul(tf.stack([tf.cos(angles), tf.sin(angles)], 1), 1.5), tf.mul(rng.normal([n, 2]), 0.1)));
}

function train(movingShare: number): PointNetworkParams {
  const times: TimeSamplerConfig = { rule: 'bernoulli', t: law, r: law, movingShare };
  const params = initPointNetwork(new Rng('init'), { dimension: 2 });
  type Draws = { x: Tensor; e: Tensor; t: Tensor; r: Tensor; equal: Tensor; rate: Tensor };
  let state = { params, adam: optimizer.init(params) };
  const step = compile(
    ({ params, adam }: typeof state, { x, e, rate, ...draws }: Draws) => {
      const { grads } = valueAndGrad((p: PointNetworkParams) => {
        const { loss } = meanFlowLoss(pointNetwork(p), { x, e, ...timesFromDraws(draws, times) }, { p: 0, c: 0 });
        return { loss, aux: {} };
      }, params);
      const next = optimizer.update(grads, adam, params, rate);
      return { params: next.params, adam: next.state };
    },
    { donate: [0, 1] },
  );
  const rate = linearDecay(3e-3, steps);
  for (let i = 0; i < steps; i++) {
    const rng = new Rng('train').child(i);
    const { t, r, equal } = drawTimes(rng.child('times'), batch, times);
    const [x, e] = [ring(rng.child('data'), batch), rng.child('noise').normal([batch, 2])];
    state = step(state, { x, e, t, r, equal: equal!, rate: tf.scalar(rate(i)) });
  }
  disposeTree(state.adam);
  return state.params;
}

/** Mean distance of samples to the nearest of the eight centres; 0.125 for the data. */
function distanceToRing(samples: Tensor): string {
  const points = samples.arraySync() as [number, number][];
  const nearest = points.map(([x, y]) =>
    Math.min(
      ...Array.from({ length: 8 }, (_, k) => Math.hypot(x - 1.5 * Math.cos((k * Math.PI) / 4), y - 1.5 * Math.sin((k * Math.PI) / 4))),
    ),
  );
  return (nearest.reduce((a, b) => a + b) / nearest.length).toFixed(3);
}

const start = performance.now();
const e = new Rng('sample').normal([4096, 2]);
const [flow, meanFlow] = [pointNetwork(train(0)), pointNetwork(train(0.5))];
console.log(`data                     ${distanceToRing(ring(new Rng('truth'), 4096))}`);
console.log(`flow matching,  1 step   ${distanceToRing(integrateVelocity(instantaneousVelocity(flow), e, { grid: uniformGrid(1) }))}`);
console.log(`flow matching, 64 steps  ${distanceToRing(integrateVelocity(instantaneousVelocity(flow), e, { grid: uniformGrid(64) }))}`);
console.log(`MeanFlow,       1 step   ${distanceToRing(sampleMeanFlow(meanFlow, e))}`);
console.log(`${((performance.now() - start) / 1000).toFixed(0)} s`);
