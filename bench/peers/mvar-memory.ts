/**
 * Runs one task of `bench mvar` in a new process, to measure its memory. Arguments: `sample` or `train`, `var` or `mvar`, and the size. Prints MiB: the
 * peak resident memory minus the memory when the engine was ready (so the weights are included), and the peak of the tensors of one graph by its plan.
 */
import {
  drawTokenNoise,
  initMvar,
  initMvarTraining,
  mvarSampler,
  mvarTrainingStep,
  trainingGroups,
  type MvarParams,
  type QuantizerParams,
} from '@atelier/mvar';
import { compile, Rng, tf, useEngine } from '@atelier/tensor';
import { drawnBatch, settings, type Setting } from '../workloads/mvar.ts';

const MEBIBYTE = 2 ** 20;
const [work, kind, size] = process.argv.slice(2) as ['sample' | 'train', 'var' | 'mvar', 'pixels' | 'figures'];
await useEngine('ort');
tf.add(1, 2).dataSync();
const start = process.memoryUsage.rss();
const resident = (): number => process.resourceUsage().maxRSS / 1024 - start / MEBIBYTE;

/** Weights at their official start; what drawing them leaves behind is collected. */
function startParams({ config, coding }: Setting): { params: MvarParams; codes: QuantizerParams } {
  const rng = new Rng('memory');
  const params = initMvar(rng.child('init'), config);
  globalThis.gc?.();
  return { params, codes: { embedding: { weight: rng.child('codes').normal([coding.codes, coding.channels]) } } };
}

/** 32 guided images of width 256 and depth 16 on the ladder of 256 pixels. */
function sample(): { resident: number; planned: number } {
  const one = settings.pixels(kind, 256, 16);
  const B = 32;
  const sampler = mvarSampler(one.config, one.coding);
  const model = { ...startParams(one), y: tf.tensor1d(new Int32Array(B), 'int32') };
  const noise = drawTokenNoise(new Rng('memory'), B, one.config);
  const options = { guidance: 1.5, topK: 900, topP: 0.96 };
  sampler.sample(model, noise, options).latents.dataSync();
  const highest = resident();
  return { resident: highest, planned: sampler.peakBytes(model, noise, options) / MEBIBYTE };
}

/** One iteration of each group of scales. With mixed training, the larger peak counts. */
function train(one: Setting, B: number): { resident: number; planned: number } {
  const batch = drawnBatch(one, B);
  let state = initMvarTraining(startParams(one).params);
  let planned = 0;
  for (const range of trainingGroups(one.config)) {
    const step = compile(mvarTrainingStep(one.config, range), { donate: [0] });
    const rate = tf.scalar(1e-4);
    planned = Math.max(planned, step.peakBytes(state, batch, rate) / MEBIBYTE);
    const out = step(state, batch, rate);
    out.loss.dataSync();
    state = out.state;
    step.dispose();
  }
  return { resident: resident(), planned };
}

const figures = (): { resident: number; planned: number } => train(settings.figures(kind), 32);
const pixels = (): { resident: number; planned: number } => train(settings.pixels(kind, 256, 4), 8);
console.log(JSON.stringify(work === 'sample' ? sample() : size === 'figures' ? figures() : pixels()));
