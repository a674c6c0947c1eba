import { join } from 'node:path';
import { loadTarFlow, tokenSizes } from '@atelier/tarflow';
import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { readSafetensors } from '@atelier/tensor/node';
import { convergenceMetrics, crmShares, everywhere, gsJacobiSampler, parseStrategy, type StrategyOptions } from './src/index.ts';

// Model A: 16 x 16 images of discs and boxes, 64 tokens, 4 blocks, trained for 1500 steps.
await useEngine();
const settings = { imageSize: 16, patchSize: 2, width: 32, headSize: 16, blocks: 4, layers: 2, numClasses: 2 };
const { tensors } = await readSafetensors(join(import.meta.dirname, 'golden', 'weights_trained.safetensors'));
const model = loadTarFlow(tensors, settings);
const { T, D } = tokenSizes(gsJacobiSampler(settings).config);

const sample = gsJacobiSampler(settings);
const noise = new Rng('example').normal([16, T, D]);
const y = tf.tensor1d(
  Int32Array.from({ length: 16 }, (_, i) => i % 2),
  'int32',
);
const start = performance.now();

// Token by token: 63 evaluations a block.
const sequential = sample(model, noise, { strategy: everywhere(4, { method: 'sequential' }), y });
const show = (name: string, strategy: StrategyOptions, tolerance: number): void => {
  const { images, report } = sample(model, noise, { strategy, tolerance, y });
  const error = tf.sqrt(tf.mean(tf.squaredDifference(images, sequential.images))).dataSync()[0]!;
  console.log(
    `${name.padEnd(22)} depth ${String(report.depth).padStart(3)}  work ${report.work.toFixed(1).padStart(4)}  error ${error.toExponential(0)}`,
  );
};
console.log(`${'sequential'.padEnd(22)} depth ${sequential.report.depth}  work ${sequential.report.work.toFixed(1).padStart(4)}`);
show('Jacobi, ε = 1e-6', everywhere(4, { method: 'gs-jacobi', segments: 1, iterations: T }), 1e-6);
show('Jacobi, 10 iterations', everywhere(4, { method: 'gs-jacobi', segments: 1, iterations: 10 }), -1);
show('[3-8-8-10]', parseStrategy('[3-8-8-10]', { blocks: 4, tokens: T }), -1);
show('exact, with a proof', everywhere(4, { method: 'exact', window: 16 }), 0);

// Which block is hard? One pass of images to noise says it; here the samples themselves.
const metrics = convergenceMetrics(model, sequential.images as Tensor, settings);
console.log(
  `CRM %, block 0 first:  ${crmShares(metrics)
    .map((share) => share.toFixed(0))
    .join(' ')}`,
);
console.log(`${((performance.now() - start) / 1000).toFixed(0)} s`);
