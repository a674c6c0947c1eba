import { compile, Rng, tf, treeMap, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import {
  adamW,
  applyDiT,
  cosine,
  drawDroppedLabels,
  dropLabels,
  emaUpdate,
  emaWarmUp,
  initDiT,
  warmUp,
  type AdamState,
  type DiTParams,
} from '@atelier/nn';
import { ddimSampler, diffusionLoss, diffusionTables, drawDiffusion, guidedNetwork, linearBetas, respace } from './src/index.ts';

// A class-conditional DiT with learned variance on 8 × 8 images of waves: images of class 0 vary along the columns, those of class 1 along the rows.
await useEngine();
const [N, batch, steps] = [2, 32, 600];
const config = { inChannels: 1, patchSize: 2, width: 48, depth: 2, heads: 4, numClasses: N, learnSigma: true };
const tables = diffusionTables(linearBetas(1000));
const rng = new Rng('waves');

/** Waves of random phase, along the axis of their class. */
function waves(rng: Rng, n: number): { x0: Tensor; y: Tensor } {
  const [labels, phases] = [rng.integers(n, 0, N), rng.uniforms(n)];
  const pixels = Float32Array.from({ length: n * 64 }, (_, i) => {
    const [image, row, column] = [i >> 6, (i >> 3) & 7, i & 7];
    return Math.cos(2 * Math.PI * ((labels[image] === 0 ? column : row) / 8 + phases[image]!));
  });
  return { x0: tf.tensor(pixels, [n, 8, 8, 1]), y: tf.tensor1d(labels, 'int32') };
}

const optimizer = adamW();
type State = { params: DiTParams; average: DiTParams; adam: AdamState };
type Batch = { x0: Tensor; y: Tensor; noise: Tensor; k: Tensor; dropped: Tensor; rate: Tensor; decay: Tensor };
const step = compile(
  ({ params, average, adam }: State, { y, dropped, rate, decay, ...data }: Batch) => {
    const labels = dropLabels(y, dropped, N);
    const { loss, grads } = valueAndGrad((at: DiTParams) => {
      const network = (x: Tensor, t: Tensor): Tensor => applyDiT(at, x, { t, y: labels }, config);
      return { loss: diffusionLoss(network, data, tables, { variance: 'learned' }).loss, aux: {} };
    }, params);
    const next = optimizer.update(grads, adam, params, rate);
    return { state: { params: next.params, average: emaUpdate(average, next.params, decay), adam: next.state }, loss };
  },
  { donate: [0, 1] },
);

const params = initDiT(rng.child('init'), config);
let state: State = { params, average: treeMap((leaf) => leaf.clone(), params), adam: optimizer.init(params) };
const [rate, decay] = [warmUp(20, cosine(5e-3, steps - 20)), emaWarmUp(0.99)];
for (let i = 0; i < steps; i++) {
  const draws = rng.child(i);
  const { x0, y } = waves(draws.child('data'), batch);
  const dropped = drawDroppedLabels(draws.child('drops'), batch, 0.1);
  const out = step(state, {
    x0,
    y,
    dropped,
    ...drawDiffusion(draws, tables, x0.shape),
    rate: tf.scalar(rate(i)),
    decay: tf.scalar(decay(i)),
  });
  state = out.state;
  if (i % 200 === 0 || i === steps - 1) console.log(`step ${i}: loss ${(await out.loss.data())[0]!.toFixed(3)}`);
  out.loss.dispose();
}

// Samples from the averaged weights, by 25 DDIM steps with guidance.
const sampler = ddimSampler(
  (x, t, { average, y }: { average: DiTParams; y: Tensor }) => {
    const network = (image: Tensor, time: Tensor, labels: Tensor): Tensor => applyDiT(average, image, { t: time, y: labels }, config);
    return guidedNetwork(network, { scale: 1.5, channels: 'all', nullLabel: N })(x, t, y);
  },
  { variance: 'learned', clip: true },
);
const y = tf.tensor1d(Array.from({ length: 128 }, (_, i) => i % N), 'int32'); // prettier-ignore
const samples = sampler.sample(respace(tables, 'ddim25'), rng.child('samples').normal([128, 8, 8, 1]), {
  context: { average: state.average, y },
});

/** The share of an image's variance that lies along the axis of its class: the variance of its mean over the other axis. 1 for the data, 1/8 for noise. */
const share = tf.tidy(() => {
  const variance = (x: Tensor): Tensor => tf.mean(tf.square(tf.sub(x, tf.mean(x, 1, true))), 1);
  const images = tf.reshape(samples, [128, 8, 8]);
  const along = tf.where(tf.equal(y, tf.scalar(0, 'int32')), variance(tf.mean(images, 1)), variance(tf.mean(images, 2)));
  return tf.mean(tf.div(along, variance(tf.reshape(images, [128, 64])))).dataSync()[0]!;
});
console.log(`variance along the axis of the class: ${share.toFixed(3)}`);
