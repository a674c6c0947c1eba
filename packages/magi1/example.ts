import { adamW } from '@atelier/nn';
import { compile, Rng, tf, useEngine, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';
import {
  chunkPlan,
  constantGuidance,
  drawTraining,
  initMagi,
  magiLoss,
  magiSampler,
  plannedForwards,
  type MagiParams,
  type MagiSettings,
  type TrainingBatch,
} from './src/index.ts';

// A dot walks along a strip of 4 × 16 pixels, to the right or to the left as the prompt says. Six chunks of two frames, four at a time.
await useEngine();
const [steps, clips] = [Number(process.argv[2] ?? 300), 32];
const [chunks, chunkFrames, H, W] = [6, 2, 4, 16];
const settings: MagiSettings = {
  layers: 2,
  width: 48,
  hidden: 96,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  channels: 1,
  patch: [2, 8],
  captionChannels: 2,
  captionLength: 2,
  nullTokens: 1,
};
const rng = new Rng('example');
const F = chunks * chunkFrames;

/** Clips [n, F, H, W, 1], each with a direction: 0 right, 1 left. */
function walks(at: Rng, n: number): { x: Tensor; direction: number[] } {
  const [starts, sides] = [at.child('start').uniforms(n), at.child('side').uniforms(n)];
  const direction = Array.from(sides, (side) => Number(side < 0.5));
  const values = Float32Array.from({ length: n * F * H * W }, (_, i) => {
    const [clip, frame, column] = [Math.floor(i / (F * H * W)), Math.floor(i / (H * W)) % F, i % W];
    const place = (starts[clip]! * W + (direction[clip] === 0 ? frame : W * F - frame)) % W;
    const distance = Math.min(Math.abs(column - place), W - Math.abs(column - place));
    return 2 * Math.exp(-(distance ** 2) / 3) - 0.5;
  });
  return { x: tf.tensor(values, [n, F, H, W, 1]), direction };
}

/** One text of one token for each of `count` chunks: features [n, count, 1, 2], one-hot for the direction, and the mask [n, count, 1]. */
const words = (direction: number[], count: number): { features: Tensor; mask: Tensor } => ({
  features: tf.tensor(direction.flatMap((d) => Array.from({ length: count }, () => [1 - d, d]).flat()), [direction.length, count, 1, 2]), // prettier-ignore
  mask: tf.ones([direction.length, count, 1], 'bool'),
});
/** Clips, their texts, and everything random of a training step. */
function batch(step: number): TrainingBatch {
  const at = rng.child(step);
  const { x, direction } = walks(at, clips);
  return { x, ...words(direction, chunks), ...drawTraining(at, [clips, F, H, W, 1], chunks) };
}

const optimizer = adamW({ b2: 0.95 });
const train = compile(
  (params: Tree, state: Tree, data: Tree, rate: Tensor): Tree => {
    const { loss, grads } = valueAndGrad((at: Tree) => ({ loss: magiLoss(at as unknown as MagiParams, data as unknown as TrainingBatch, settings).loss, aux: [] }), params); // prettier-ignore
    const next = optimizer.update(grads, state as never, params, rate);
    return { params: next.params, state: next.state as unknown as Tree, loss };
  },
  { donate: [0, 1, 2] },
);
let params = initMagi(rng.child('init'), settings) as unknown as Tree;
let state = optimizer.init(params) as unknown as Tree;
for (let step = 0; step < steps; step++) {
  const out = train(params, state, batch(step) as unknown as Tree, tf.scalar(step < steps / 2 ? 4e-3 : 1e-3)) as unknown as {
    params: Tree;
    state: Tree;
    loss: Tensor;
  };
  ({ params, state } = out);
  if (step === 0 || step === steps - 1) console.log(`step ${step + 1}: loss ${out.loss.dataSync()[0]!.toFixed(3)}`);
  out.loss.dispose();
}

// Two videos from the same image: in the first the dot walks to the right, in the second to the left. We print the brightest column of every frame.
const image = tf.slice(walks(rng.child('given'), 1).x, [0, 0, 0, 0, 0], [1, 1, H, W, 1]);
const prefix = tf.tile(image, [2, 1, 1, 1, 1]);
const schedule = { chunks, chunkFrames, window: 4, steps: 8, prefixFrames: 1 };
const prompt = { features: tf.tensor3d([[[1, 0]], [[0, 1]]]), mask: tf.ones([2, 1], 'bool') as Tensor };
const sampler = magiSampler(settings);
const noise = rng.child('noise').normal([2, F, H, W, 1]);
const video = sampler.sample(params as unknown as MagiParams, noise, {
  schedule,
  prompts: prompt,
  prefix,
  guidance: constantGuidance(1, 1),
});
const forwards = [...plannedForwards(chunkPlan(schedule))];
console.log(
  `${forwards.length} forwards of at most ${Math.max(...forwards.map(({ active, clean }) => active.length + (clean ? 1 : 0)))} chunks`,
);
for (let row = 0; row < 2; row++) {
  const brightest = tf.argMax(tf.sum(tf.slice(video, [row, 0, 0, 0, 0], [1, F, H, W, 1]), [0, 2, 4]), 1).dataSync();
  console.log(`${row === 0 ? 'right' : 'left '}: ${Array.from(brightest).join(' ')}`);
}
sampler.dispose();
