import type { TarFlow } from '@atelier/tarflow';
import { disposeTree, type Tensor } from '@atelier/tensor';
import type { BlockOptions, BlockReport } from './block-inverter.ts';
import type { GsJacobiSampler } from './sampler.ts';
import { everywhere, type Strategy } from './strategy.ts';

/** What is sampled, how, and by which clock: the same in all steps of planning. */
export type PlanningSetup = {
  sampler: GsJacobiSampler;
  model: TarFlow;
  /** A clock in ms. */
  now: () => number;
  options: Pick<BlockOptions, 'y' | 'guidance' | 'means'>;
  /** As many iterations as a plan says, and how many of them go into one graph: where one is short, four at a time are faster. */
  iteration: { tolerance: -1; unroll: 1 | 4 };
  sizes: { B: number; T: number; D: number };
};

/** A batch drawn token by token: the outputs of all blocks in the order of sampling, the prior's first, and the time. */
export type SequentialRun = { outputs: Tensor[]; ms: number };

export function drawSequentially({ sampler, model, now, options }: PlanningSetup, noise: Tensor): SequentialRun {
  const outputs = [sampler.prior(model, noise)];
  const start = now();
  for (let block = sampler.config.blocks - 1; block >= 0; block--) {
    const { x } = sampler.blocks.invert(model, { block, plan: { method: 'sequential' }, z: outputs.at(-1)! }, options);
    outputs.push(x);
  }
  outputs.at(-1)!.dataSync();
  return { outputs, ms: now() - start };
}

/** A sample drawn by a strategy: the root mean square error of its image, and the largest change of every block in the order of sampling. */
export type DrawnSample = { error: number; changes: number[] };

/** Every sample of every batch by a strategy, against the images of the sequential runs. */
export function drawSamples(
  setup: PlanningSetup,
  { noise, images, strategy }: { noise: readonly Tensor[]; images: readonly Float32Array[]; strategy: Strategy },
): DrawnSample[][] {
  const { sampler, model, options, iteration, sizes } = setup;
  return noise.map((batch, i) => {
    let last: Float32Array | undefined;
    const reports: BlockReport[] = [];
    const onBlock = ({ x, report }: { x: Tensor; report: BlockReport }): void => {
      reports.push(report);
      if (reports.length === strategy.length) last = x.dataSync() as Float32Array;
    };
    sampler(model, batch, { strategy, ...options, ...iteration, onBlock }).images.dispose();
    const changes = reports.map((report) => largestChanges(report, sizes.B));
    return sampleErrors(last!, images[i]!, sizes.B).map((error, b) => ({ error, changes: changes.map((ofBlock) => ofBlock[b]!) }));
  });
}

/** The largest change of each sample in the last iteration of any segment [B]; 0 where a block was solved token by token. */
export function largestChanges({ segments = [] }: BlockReport, B: number): number[] {
  return Array.from({ length: B }, (_, b) => Math.max(0, ...segments.map(({ changes }) => changes[b]!)));
}

/** Root mean square difference of each sample of a batch [B]. */
export function sampleErrors(a: ArrayLike<number>, b: ArrayLike<number>, B: number): number[] {
  const size = a.length / B;
  return Array.from({ length: B }, (_, row) => {
    let sum = 0;
    for (let i = row * size; i < (row + 1) * size; i++) sum += (a[i]! - b[i]!) ** 2;
    return Math.sqrt(sum / size);
  });
}

/** Times in ms of whole batches by the strategy and token by token, in turns on the same noise, after one run of each that does not count. */
export function timePairs(
  { sampler, model, now, options, iteration }: PlanningSetup,
  { noise, strategy, pairs }: { noise: readonly Tensor[]; strategy: Strategy; pairs: number },
): { ms: number[]; sequentialMs: number[] } {
  const tokenByToken = everywhere(strategy.length, { method: 'sequential' });
  const timed = (plans: Strategy, batch: Tensor): number => {
    const start = now();
    const { images } = sampler(model, batch, { strategy: plans, ...options, ...iteration });
    images.dataSync();
    const ms = now() - start;
    images.dispose();
    return ms;
  };
  timed(strategy, noise[0]!);
  timed(tokenByToken, noise[0]!);
  const batches = Array.from({ length: pairs }, (_, i) => noise[i % noise.length]!);
  const both = batches.map((batch) => ({ ms: timed(strategy, batch), sequentialMs: timed(tokenByToken, batch) }));
  return { ms: both.map(({ ms }) => ms), sequentialMs: both.map(({ sequentialMs }) => sequentialMs) };
}

export const disposeRuns = (runs: readonly SequentialRun[]): void => disposeTree(runs.map(({ outputs }) => outputs));

/** The value below which a share of the values lies, one of them: quantile(values, 1) is the largest. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}
export const median = (values: readonly number[]): number => quantile(values, 0.5);
