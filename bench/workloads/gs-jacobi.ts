import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { discsAndBoxes } from '@atelier/datasets';
import {
  bestGuesses,
  convergenceMetrics,
  crmStack,
  everywhere,
  gsJacobiSampler,
  meanGuesses,
  parseStrategy,
  type BlockMeans,
  type BlockMetrics,
  type GsJacobiSampler,
  type Guess,
  type Strategy,
  type WayToSample,
} from '@atelier/gs-jacobi';
import {
  drawNoise,
  initTarFlow,
  initTraining,
  loadTarFlow,
  officialTarFlowConfig,
  modelOfState,
  tarflowSchedule,
  tokenSizes,
  trainingStep,
  type TarFlow,
  type TarFlowSettings,
} from '@atelier/tarflow';
import { compile, Rng, tf, type Tensor } from '@atelier/tensor';
import { readSafetensors } from '@atelier/tensor/node';
import { median } from '../harness/contest.ts';

/** A model, and everything needed to sample from it. */
export type SampledModel = {
  about: string;
  model: TarFlow;
  sampler: GsJacobiSampler;
  metrics: BlockMetrics[];
  means: BlockMeans[];
  /** Number of iterations in one graph. The planner chooses the fastest. */
  unroll: number;
  /** Noise [batch, T, D] for a name. */
  noise: (name: string, batch: number) => Tensor;
};

/** Like model A of the experiment, but with 1024 tokens and 8 blocks: width 32, two heads, two layers per block. */
const LONG: TarFlowSettings = { imageSize: 64, patchSize: 2, width: 32, headSize: 16, blocks: 8, layers: 2 };
/** σ_n of the noise that is added to training images. */
const SIGMA = 0.1;
const METRIC_IMAGES = 64;
const MEAN_IMAGES = 16;

/** A model after a short training on discs and boxes, with the learning rate of the paper (from 1e-6 up to 1e-4 and back). */
export function shortlyTrained({ steps, batch }: { steps: number; batch: number }, settings: TarFlowSettings = LONG): SampledModel {
  const rng = new Rng('bench gs-jacobi');
  const step = compile(trainingStep(settings, SIGMA), { donate: [0, 1, 2], name: 'tarflow-step' });
  const schedule = tarflowSchedule({ warmUpSteps: Math.max(1, Math.round(steps / 20)), totalSteps: steps });
  let state = initTraining(initTarFlow(rng.child('init'), settings));
  let loss = NaN;
  for (let i = 0; i < steps; i++) {
    const x = images(rng.child('data').child(i), batch, settings);
    const out = step(state, { x, noise: drawNoise(rng.child('noise').child(i), x.shape, SIGMA) }, tf.scalar(schedule(i)));
    ({ state } = out);
    loss = out.loss.dataSync()[0]!;
    out.loss.dispose();
    if (!Number.isFinite(loss)) throw new Error(`bench gs-jacobi: wanted a finite loss, got ${loss} at step ${i}`);
  }
  step.dispose();
  return sampled(modelOfState(state), settings, `${steps} steps of batch ${batch}, loss ${loss.toFixed(3)}`);
}

/** Model A after 1500 training steps: 64 tokens, 4 blocks. The parity test uses the same weights. */
export async function modelA(): Promise<SampledModel> {
  const path = join(
    fileURLToPath(import.meta.url),
    '..',
    '..',
    '..',
    'packages',
    'tarflow',
    'golden',
    'gs-jacobi',
    'weights_trained.safetensors',
  );
  const { tensors, metadata } = await readSafetensors(path);
  const settings = officialTarFlowConfig(metadata);
  return sampled(loadTarFlow(tensors, settings), settings, `${metadata.train_steps} steps of batch ${metadata.train_batch}`);
}

function sampled(model: TarFlow, settings: TarFlowSettings, about: string): SampledModel {
  const sampler = gsJacobiSampler(settings);
  const { T, D } = tokenSizes(sampler.config);
  const rng = new Rng('bench gs-jacobi samples');
  const noise = (name: string, batch: number): Tensor => rng.child(name).normal([batch, T, D]);
  const metrics = tf.tidy(() => convergenceMetrics(model, images(rng.child('images'), METRIC_IMAGES, settings), settings, { batch: 8 }));
  const own = sampler.sample(model, noise('means', MEAN_IMAGES), {
    strategy: everywhere(sampler.config.blocks, { method: 'sequential' }),
  }).images;
  const means = meanGuesses(model, own, settings);
  own.dispose();
  return { about, model, sampler, metrics, means, unroll: 1, noise };
}

function images(rng: Rng, count: number, { imageSize }: TarFlowSettings): Tensor {
  const side = Array.isArray(imageSize) ? imageSize[0] : imageSize;
  return tf.tensor(discsAndBoxes(rng, count, side).pixels as Float32Array, [count, side, side, 3]);
}

/** A way to sample, with a name: a plan, or a strategy with fixed numbers of iterations. */
export type Way = { name: string; way: WayToSample };

/** The images of one batch, in host memory. */
export function draw(
  { sampler, model, means, unroll }: SampledModel,
  way: WayToSample,
  noise: Tensor,
): { data: Float32Array; depth: number; work: number } {
  const { images, report } = sampler.sample(model, noise, { ...way, means, tolerance: -1, unroll });
  const data = images.dataSync() as Float32Array;
  images.dispose();
  return { data, depth: report.depth, work: report.work };
}

export const sequentially = ({ sampler }: SampledModel): WayToSample => ({
  strategy: everywhere(sampler.config.blocks, { method: 'sequential' }),
});

/** Root mean square error of each sample of a batch, compared with sequential sampling, [B]. */
export function errorsOf(sampledModel: SampledModel, way: WayToSample, noise: Tensor): { errors: number[]; depth: number } {
  const exact = draw(sampledModel, sequentially(sampledModel), noise).data;
  const { data, depth } = draw(sampledModel, way, noise);
  const [B] = noise.shape as [number];
  const size = data.length / B;
  const row = (values: Float32Array, b: number): Float32Array => values.subarray(b * size, (b + 1) * size);
  return { errors: Array.from({ length: B }, (_, b) => rootMeanSquare(row(data, b), row(exact, b))), depth };
}

export function rootMeanSquare(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0) / a.length);
}

/** A strategy of the grid with a small enough error, and the median of three times. */
export type GridPoint = Way & { rmse: number; ms: number };

const GRID = { all: [1, 2, 4, 8], stack: [4, 8, 16], iterations: [1, 2, 3, 4, 6, 8, 12, 16], others: [1, 2, 3, 4, 6, 8] };

/**
 * Searches the small grid with which the planner is compared. Guesses are chosen by IGM, or `mean` for all blocks. Either all blocks have
 * the same number of segments, 1 to 8. Or the blocks of the CRM stack have 4 to 16 segments and all other blocks have one. For each
 * combination, the number of iterations grows only until the error is small enough, because more iterations take longer. Returns the
 * strategies whose error is at most `rmse`, the fastest first.
 */
export function exhaustiveGrid(sampledModel: SampledModel, noise: Tensor, rmse: number): { tried: number; within: GridPoint[] } {
  const { sampler, metrics } = sampledModel;
  const { blocks } = sampler.config;
  const { T } = tokenSizes(sampler.config);
  const exact = draw(sampledModel, sequentially(sampledModel), noise).data;
  const within: GridPoint[] = [];
  let tried = 0;
  /** Tries a strategy. Returns whether its error is small enough. */
  const attempt = (name: string, strategy: Strategy): boolean => {
    tried++;
    const error = rootMeanSquare(draw(sampledModel, { strategy }, noise).data, exact);
    if (error > rmse) return false;
    const times = [0, 1, 2].map(() => {
      const start = performance.now();
      draw(sampledModel, { strategy }, noise);
      return performance.now() - start;
    });
    within.push({ name, way: { strategy }, rmse: error, ms: median(times) });
    return true;
  };
  const most = Math.max(...metrics.map(({ crm }) => crm));
  const stack = crmStack(metrics);
  const blocksOfStack = stack.length > 0 ? stack : [metrics.findIndex(({ crm }) => crm === most)];
  const rules: Record<string, Guess[]> = { igm: bestGuesses(metrics), mean: new Array<Guess>(blocks).fill('mean') };
  for (const [rule, guesses] of Object.entries(rules)) {
    for (const segments of GRID.all)
      for (const iterations of GRID.iterations) {
        const strategy = guesses.map((guess) => ({ method: 'gs-jacobi' as const, segments, iterations, guess }));
        if (attempt(`all ${segments} x ${iterations}, ${rule}`, strategy)) break;
      }
    for (const segments of GRID.stack.filter((count) => 2 * count <= T))
      for (const others of GRID.others)
        for (const iterations of GRID.iterations) {
          const name = `[${blocksOfStack.join('/')}-${segments}-${iterations}-${others}]`;
          if (attempt(`${name}, ${rule}`, parseStrategy(name, { blocks, tokens: T, guesses }))) break;
        }
  }
  within.sort((a, b) => a.ms - b.ms);
  return { tried, within };
}
