import { adamW } from '@atelier/nn';
import { compile, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { denoise, denoisingLoss, drawNoise, initDenoiser, samplePoints, type DenoiserParams } from './src/index.ts';

// A Gaussian of the plane, mean (1, -0.5) and standard deviations 1 and 0.25: its denoiser is learnt, then samples it.
await useEngine();
const rng = new Rng('example');
const [steps, batch] = [600, 256];
const points = (at: Rng, count: number): Tensor => tf.add(tf.mul(at.normal([count, 2]), tf.tensor1d([1, 0.25])), tf.tensor1d([1, -0.5]));

const optimizer = adamW();
const params = initDenoiser(rng.child('init'));
let state = { params, adam: optimizer.init(params) };
const step = compile(
  ({ params, adam }: typeof state, data: { x: Tensor; e: Tensor; k: Tensor }, rate: Tensor) => {
    const { loss, grads } = valueAndGrad(
      (p: DenoiserParams) => ({ loss: denoisingLoss((z, k) => denoise(p, z, k), data), aux: {} }),
      params,
    );
    const next = optimizer.update(grads, adam, params, rate);
    return { state: { params: next.params, adam: next.state }, loss };
  },
  { donate: [0, 1] },
);
for (let i = 0; i < steps; i++) {
  const at = rng.child('steps').child(i);
  const out = step(state, { x: points(at.child('data'), batch), ...drawNoise(at, batch) }, tf.scalar(0.03 * (1 - i / steps)));
  state = out.state;
  out.loss.dispose();
}
const samples = samplePoints((z, k) => denoise(state.params, z, k), rng.child('samples').normal([4096, 2]));
const { mean, variance } = tf.moments(samples, 0);
const show = (x: Tensor): string => Array.from(x.dataSync(), (value) => value.toFixed(2)).join(', ');
console.log(`mean ${show(mean)}; standard deviations ${show(tf.sqrt(variance))}`);
