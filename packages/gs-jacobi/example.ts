import { loadTarFlow, sequentialSampler, tokenSizes, tarflowConfig } from '@atelier/tarflow';
import { Rng, tf, useEngine } from '@atelier/tensor';
import { readSafetensors } from '@atelier/tensor/node';
import { fileURLToPath } from 'node:url';
import { everywhere, gsJacobiSampler, parseStrategy, type Strategy } from './src/index.ts';

// A TarFlow with 64 tokens and 4 blocks, trained on discs and boxes, samples 3 images: token by token, and in parallel.
await useEngine();
const file = fileURLToPath(new URL('../tarflow/golden/gs-jacobi/weights_trained.safetensors', import.meta.url));
const { tensors } = await readSafetensors(file);
const settings = { imageSize: 16, patchSize: 2, width: 32, headSize: 16, blocks: 4, layers: 2, numClasses: 2 };
const { T, D } = tokenSizes(tarflowConfig.parse(settings));
const model = loadTarFlow(tensors, settings);
const noise = new Rng('gs-jacobi example').normal([3, T, D]);
const y = tf.tensor1d([0, 1, 0], 'int32');

const exact = sequentialSampler(settings)(model, noise, { y }).images;
const sample = gsJacobiSampler(settings);
const named = { blocks: settings.blocks, tokens: T };
const ways: Record<string, Strategy> = {
  'token by token': everywhere(settings.blocks, { method: 'sequential' }),
  'Jacobi, 10 iterations a block': everywhere(settings.blocks, { method: 'gs-jacobi', segments: 1, iterations: 10 }),
  '[top-8-8-10]': parseStrategy('[top-8-8-10]', named), // block 3 in 8 segments of at most 8 iterations, the others 10 iterations
  'exact, with a proof': everywhere(settings.blocks, { method: 'exact', window: 32 }),
};
console.log('                               depth    work   root mean square error');
for (const [name, strategy] of Object.entries(ways)) {
  const { images, report } = sample(model, noise, { strategy, y });
  const error = Math.sqrt(tf.mean(tf.squaredDifference(images, exact)).dataSync()[0]!);
  console.log(
    `${name.padEnd(30)}${String(report.depth).padStart(6)}${report.work.toFixed(1).padStart(8)}${error.toExponential(1).padStart(12)}`,
  );
}
