import { discsAndBoxes, gather } from '@atelier/datasets';
import { compile, Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import {
  bitsPerDimension,
  denoise,
  dropLabels,
  drawNoise,
  initTarFlow,
  initTraining,
  modelOfState,
  sequentialSampler,
  tarflowForward,
  tarflowSchedule,
  trainingStep,
  type TarFlowSettings,
} from './src/index.ts';

// A flow of discs and boxes, 8 × 8 pixels as 16 tokens: trained, sampled with guidance, denoised.
await useEngine();
const [steps, batch, side, sigma] = [Number(process.argv[2] ?? 300), 32, 8, 0.1];
const settings: TarFlowSettings = { imageSize: side, patchSize: 2, width: 32, headSize: 16, blocks: 4, layers: 2, numClasses: 2 };
const rng = new Rng('example');
const set = discsAndBoxes(rng.child('set'), 512, side);
const draw = (at: Rng, count: number): { x: Tensor; y: Tensor } => {
  const { x, y } = gather(set, at.integers(count, 0, set.count));
  return { x: tf.tensor(x, [count, side, side, 3]), y: tf.tensor1d(y, 'int32') };
};

const start = performance.now();
const step = compile(trainingStep(settings, sigma), { donate: [0] });
const rate = tarflowSchedule({ warmUpSteps: 20, totalSteps: Math.max(21, steps), max: 2e-3 });
let state = initTraining(initTarFlow(rng.child('init'), settings));
let [first, last] = [0, 0];
for (let i = 0; i < steps; i++) {
  const at = rng.child(i);
  const { x, y } = draw(at.child('batch'), batch);
  const dropped = tf.less(at.child('drop').uniform([batch]), 0.1);
  const out = step(state, { x, noise: drawNoise(at.child('noise'), x.shape, sigma), y: dropLabels(y, dropped) }, tf.scalar(rate(i)));
  state = out.state;
  last = out.loss.dataSync()[0]!;
  if (i === 0) first = last;
}
console.log(`loss ${first.toFixed(3)} -> ${last.toFixed(3)} nats per dimension after ${steps} steps`);

const model = modelOfState(state);
const held = draw(rng.child('held out'), 64);
const bits = tf.mean(bitsPerDimension(model, held.x, settings).bits).dataSync()[0]!;
console.log(`${bits.toFixed(2)} bits per dimension`);

const sampler = sequentialSampler(settings);
const noise = rng.child('samples').normal([16, 16, 12]);
const y = tf.tensor1d([...new Array<number>(8).fill(0), ...new Array<number>(8).fill(1)], 'int32');
const { images } = sampler.sample(model, noise, { y });
const back = tarflowForward(model, images, settings, y).z;
console.log(
  `from noise to images and back: ${tf
    .max(tf.abs(tf.sub(back, noise)))
    .dataSync()[0]!
    .toExponential(0)}`,
);
const guided = sampler.sample(model, noise, { y, guidance: { weight: 1, annealed: true } }).images;
const clean = denoise(model, guided, settings, { sigma, y });
const moved = Math.sqrt(tf.mean(tf.square(tf.sub(clean, guided))).dataSync()[0]!);
console.log(`denoising moves a pixel by ${moved.toFixed(3)}`);
console.log(`${((performance.now() - start) / 1000).toFixed(0)} s`);
