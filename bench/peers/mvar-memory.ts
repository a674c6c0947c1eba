/**
 * Runs one task of `bench mvar` in a new process, to measure its memory. Arguments: `sample` or `train`, `var` or `mvar`, and the size.
 * Prints the peak resident memory in MiB, minus the memory when the engine was ready. So the weights are included.
 */
import { initMvarTraining, mvarTrainingStep, trainingGroups } from '@atelier/mvar';
import { compile, Rng, tf, useEngine, type Tree } from '@atelier/tensor';
import { mvarSampler } from '@atelier/mvar';
import { drawnBatch, drawnParams, settings } from '../workloads/mvar.ts';

const [work, kind, size] = process.argv.slice(2) as ['sample' | 'train', 'var' | 'mvar', 'pixels' | 'figures'];
await useEngine('ort');
tf.add(1, 2).dataSync();
const start = process.memoryUsage.rss();
if (work === 'sample') {
  const one = settings.pixels(kind, 256, 16);
  const { params, codes } = drawnParams(one);
  const sampler = mvarSampler(one.config, one.coding);
  const y = tf.tensor1d(new Int32Array(32), 'int32');
  const { latents } = sampler(params, codes, { y, rng: new Rng('memory'), guidance: 1.5, topK: 900, topP: 0.96 });
  latents.dataSync();
} else {
  const one = size === 'figures' ? settings.figures(kind) : settings.pixels(kind, 256, 4);
  const B = size === 'figures' ? 32 : 8;
  const batch = drawnBatch(one, B);
  let state = initMvarTraining(drawnParams(one).params);
  // One iteration of each group of scales. With mixed training, the larger peak counts.
  for (const range of trainingGroups(one.config)) {
    const step = compile(mvarTrainingStep(one.config, range), { donate: [0] });
    const out = step(state as never, batch as never, tf.scalar(1e-4));
    out.loss.dataSync();
    state = out.state as typeof state;
    step.dispose();
  }
  tf.dispose(state as unknown as Tree as never);
}
console.log(JSON.stringify({ mebibytes: process.resourceUsage().maxRSS / 1024 - start / 2 ** 20 }));
