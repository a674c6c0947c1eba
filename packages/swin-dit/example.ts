import { gaussianField } from '@atelier/datasets';
import { adamW, cosine, warmUp } from '@atelier/nn';
import { diffusionLoss, diffusionTables, drawDiffusion, linearBetas, type DiffusionBatch } from '@atelier/diffusion';
import { compile, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { applySwinDiT, initSwinDiT, swinDiTMacs, swinDiTParameterCount, type SwinDiTParams, type SwinDiTSettings } from './src/index.ts';

// Denoisers of Gaussian random fields, 16 × 16 pixels as 8 × 8 tokens, windows of 4 × 4: DiT, only windows, and windows with bridges between them.
await useEngine();
const [steps, batch, side] = [Number(process.argv[2] ?? 300), 32, 16];
const dit = { inChannels: 1, patchSize: 2, width: 32, depth: 4, heads: 4 };
const base: SwinDiTSettings = { dit, grid: [side / 2, side / 2], window: 4 };
const networks: Record<string, SwinDiTSettings> = {
  DiT: { ...base, attention: 'global' },
  'only windows': { ...base, attention: 'window' },
  PSWA: base, // 1, 2, 2, 3 of 4 heads attend inside windows, the others bridge them
};
const field = gaussianField(side);
const tables = diffusionTables(linearBetas());
const optimizer = adamW();
const rate = warmUp(30, cosine(3e-3, Math.max(1, steps - 30)));
const draw = (rng: Rng, count: number): DiffusionBatch => {
  const x0 = tf.tensor(field.sample(rng.child('field'), count), [count, side, side, 1]);
  return { x0, ...drawDiffusion(rng, tables, x0.shape) };
};

function train(settings: SwinDiTSettings): { params: SwinDiTParams; error: (batch: DiffusionBatch) => number } {
  const loss = (params: SwinDiTParams, data: DiffusionBatch): Tensor =>
    diffusionLoss((x, t) => applySwinDiT(params, x, { t }, settings), data, tables, { variance: 'small' }).loss;
  const params = initSwinDiT(new Rng('init'), settings);
  let state = { params, adam: optimizer.init(params) };
  const step = compile(
    ({ params, adam }: typeof state, data: DiffusionBatch, learningRate: Tensor) => {
      const { grads } = valueAndGrad((p: SwinDiTParams) => ({ loss: loss(p, data), aux: {} }), params);
      const next = optimizer.update(grads, adam, params, learningRate);
      return { params: next.params, adam: next.state };
    },
    { donate: [0, 1, 2] },
  );
  for (let i = 0; i < steps; i++) state = step(state, draw(new Rng('train').child(i), batch), tf.scalar(rate(i)));
  return { params: state.params, error: (data) => compile(loss)(state.params, data).dataSync()[0]! };
}

const start = performance.now();
const judged = draw(new Rng('evaluate'), 256);
console.log('                 parameters  MACs of a forward pass  mean (ε̂ - ε)²');
for (const [name, settings] of Object.entries(networks)) {
  const columns = [swinDiTParameterCount(settings), swinDiTMacs(settings).total].map((n) => n.toLocaleString('en-US'));
  const error = train(settings).error(judged).toFixed(3);
  console.log(`${name.padEnd(17)}${columns[0]!.padStart(10)}${columns[1]!.padStart(24)}${error.padStart(15)}`);
}
console.log(`${((performance.now() - start) / 1000).toFixed(0)} s`);
