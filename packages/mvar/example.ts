import { gather, shapes } from '@atelier/datasets';
import { compile, Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import {
  attentionMacs,
  batchLoss,
  cacheBytes,
  dctImages,
  dctLatents,
  drawTokenNoise,
  fitCodebook,
  initMvar,
  initMvarTraining,
  mvarConcatStep,
  mvarSampler,
  mvarSchedule,
  quantize,
  quantizerConfig,
  teacherInputs,
  trainingGroups,
  mvarConfig,
  varSettings,
  type MvarBatch,
} from './src/index.ts';

// VAR and MVAR learn the tokens of small shapes, 8 x 8 pixels as maps of 1, 2 and 4 tokens a side: equal starts, batches and steps.
await useEngine();
const [steps, batch, count] = [Number(process.argv[2] ?? 200), 32, 512];
const rng = new Rng('example');
const begin = performance.now();

// A tokenizer without training: latents are cosine coefficients of blocks of 2 x 2 pixels, and the codebook comes from k-means.
const dct = { block: 2, coefficients: 3, deviation: 0.5 };
const coding = quantizerConfig.parse({ ladder: [1, 2, 4], codes: 32, channels: 3, ratio: 0 });
// 512 shapes with their classes, and their latents [512, 4, 4, 3].
const set = gather(
  shapes(rng.child('set'), count),
  Int32Array.from({ length: count }, (_, i) => i),
);
const latents = dctLatents(tf.tensor(set.x, [count, 8, 8, 1]), dct);
const codes = fitCodebook(latents, coding, rng.child('codes'), { rounds: 4, drawn: 3000 });
const { indices, reconstructions } = quantize(codes, latents, coding);
const all = { tokens: tf.concat(indices, 1), inputs: teacherInputs(reconstructions, coding.ladder), y: tf.tensor1d(set.y, 'int32') };
/** The images with these indices as a batch. */
const rows = (at: Int32Array): MvarBatch => {
  const index: Tensor = tf.tensor1d(at, 'int32');
  return { tokens: tf.gather(all.tokens, index), inputs: tf.gather(all.inputs, index), y: tf.gather(all.y, index) };
};

// The same network twice. MVAR has windows of 3 x 3 in the map of 4 x 4 tokens (scale 2).
const network = { ladder: [1, 2, 4], width: 32, depth: 2, heads: 2, latentChannels: 3, codes: 32, numClasses: 4 };
const models = { VAR: varSettings(network), MVAR: { ...network, refineStep: 2, kernelSize: 3 } };
const rate = mvarSchedule({ peak: 4e-3, warmUpSteps: 10, totalSteps: Math.max(12, steps) });
for (const [name, settings] of Object.entries(models)) {
  const config = mvarConfig.parse(settings);
  const step = compile(mvarConcatStep(settings), { donate: [0] });
  let state = initMvarTraining(initMvar(rng.child('init'), settings));
  const loss = (): string => batchLoss(state.params, all, trainingGroups(config), config).dataSync()[0]!.toFixed(3);
  const first = loss();
  for (let i = 0; i < steps; i++) state = step(state, rows(rng.child(i).integers(batch, 0, count)), tf.scalar(rate(i))).state;
  const model = { params: state.params, codes, y: tf.tensor1d([0, 1, 2, 3], 'int32') };
  const noise = drawTokenNoise(rng.child('sample'), 4, config);
  const drawn = mvarSampler(settings, coding).sample(model, noise, { guidance: 1.5, topP: 0.95 });
  const pixels = dctImages(drawn.latents, dct);
  const [macs, kept] = [attentionMacs(settings), cacheBytes(settings, 4, true)];
  console.log(
    `${name.padEnd(5)} ${first} -> ${loss()} nats per token; attention ${macs} MACs, ${kept} bytes kept; images [${pixels.shape.join(', ')}]`,
  );
}
console.log(`${((performance.now() - begin) / 1000).toFixed(0)} s`);
