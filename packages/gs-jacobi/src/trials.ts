import { permute } from '@atelier/tarflow';
import { tf, type Tensor } from '@atelier/tensor';
import type { BlockOptions, BlockReport } from './block-inverter.ts';
import type { BlockPlan, Guess } from './strategy.ts';
import { largestChanges, median, sampleErrors, type PlanningSetup, type SequentialRun } from './whole-samples.ts';

/** Four iterations go into one graph if that is at least a tenth faster. */
const FASTER = 0.9;
/** Numbers of iterations that are tried for several segments, where each is a run of its own. */
const LADDER = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 64];

/** A way to invert a block that was tried. */
export type Trial = {
  plan: BlockPlan;
  /** Time in ms, as far as it can be told from the number of iterations; whole samples are measured, not added up from these. */
  ms: number;
  /** Root mean square error of the block's output, of the worst sample. */
  worst: number;
  /** Largest ratio of a sample's error to its change in the last iteration, with this number of iterations or more. */
  errorPerChange: number;
};

/** A block with its exact inputs z and outputs x in image order, one of each for every batch it is tried on. */
export type BlockExamples = { block: number; batches: { z: Tensor; x: Tensor }[] };
/** ms that a number of segments takes before its first iteration, and for each iteration. */
export type IterationTime = { start: number; each: number };

/** Whether four Jacobi iterations are faster in one graph than one by one. */
export function fasterIterations({ sampler, model, now, options }: PlanningSetup, z: Tensor): PlanningSetup['iteration'] {
  const block = sampler.config.blocks - 1;
  const plan: BlockPlan = { method: 'gs-jacobi', segments: 1, iterations: 4, guess: 'z' };
  const [single, together] = ([1, 4] as const).map((unroll) => {
    const run = (): Tensor => sampler.blocks.invert(model, { block, plan, z }, { ...options, tolerance: -1, unroll }).x;
    run().dispose();
    return timed(now, run);
  }) as [number, number];
  return { tolerance: -1, unroll: together < FASTER * single ? 4 : 1 };
}

/** ms of a number of segments by its iterations; every block takes the same, so they are kept in `known`. */
export function iterationTime(
  { sampler, model, now, options, iteration, sizes }: PlanningSetup,
  { block, batches }: BlockExamples,
  { segments, known }: { segments: number; known: Map<number, IterationTime> },
): IterationTime {
  const before = known.get(segments);
  if (before !== undefined) return before;
  const run = (iterations: number): Tensor => {
    const plan: BlockPlan = { method: 'gs-jacobi', segments, iterations, guess: 'z' };
    return sampler.blocks.invert(model, { block, plan, z: batches[0]!.z }, { ...options, ...iteration }).x;
  };
  // No segment is iterated more often than it has tokens.
  const most = Math.min(8, Math.floor(sizes.T / segments));
  const few = Math.ceil(most / 2);
  for (const iterations of [most, few]) run(iterations).dispose();
  const [short, long] = [timed(now, () => run(few)), timed(now, () => run(most))];
  const each = Math.max(most === few ? long : (long - short) / (most - few), long / (2 * most));
  const found = { start: Math.max(0, short - few * each), each };
  known.set(segments, found);
  return found;
}

/** One kind of trials of a block: a number of segments and a start, by how long it takes; what is dearer than `useful` ms is left out. */
export type TrialKind = { segments: number; start: Guess; time: IterationTime; useful: number; floor: number };

/** A block inverted alone from its exact input, by one number of iterations after the other until more are of no use. */
export function tryBlock(setup: PlanningSetup, examples: BlockExamples, kind: TrialKind): Trial[] {
  const { time, floor } = kind;
  const tried = kind.segments === 1 ? tryOneSegment(setup, examples, kind) : trySegments(setup, examples, kind);
  const enough = tried.findIndex(({ worst }) => worst <= floor);
  const trials = tried.slice(0, enough < 0 ? tried.length : enough + 1);
  // A sample that needs more iterations than planned is judged by the ratio that holds there.
  let most = 0;
  return trials
    .reverse()
    .map(({ iterations, worst, ratio }): Trial => {
      most = Math.max(most, ratio);
      return { plan: planOf(kind, iterations), ms: time.start + iterations * time.each, worst, errorPerChange: most };
    })
    .reverse();
}

/** A number of iterations, in how many batches it was run, and what its samples show. */
type Tried = { iterations: number; batches: number; worst: number; ratio: number };

/** One run of a single segment shows the error after every iteration. */
function tryOneSegment(setup: PlanningSetup, { block, batches }: BlockExamples, kind: TrialKind): Tried[] {
  const { time, useful } = kind;
  const most = Math.min(setup.sizes.T - 1, Math.max(1, Math.floor((useful - time.start) / time.each)));
  const tried = Array.from({ length: most }, (_, n): Tried => ({ iterations: n + 1, batches: 0, worst: 0, ratio: 0 }));
  for (const { z, x } of batches) {
    const wanted = tf.tidy(() => permute(x, block).dataSync());
    const onIteration: NonNullable<BlockOptions['onIteration']> = ({ iteration, x: iterate, changes }) =>
      note(tried[iteration - 1]!, sampleErrors(iterate.dataSync(), wanted, setup.sizes.B), changes!);
    invert(setup, { block, z, plan: planOf(kind, most) }, { onIteration }).x.dispose();
  }
  // An iteration that overflowed in some batch is the last one of use, for that run ended there.
  return tried.filter((one) => one.batches === batches.length);
}

function trySegments(setup: PlanningSetup, { block, batches }: BlockExamples, kind: TrialKind): Tried[] {
  const { time, useful, floor } = kind;
  const all: Tried[] = [];
  for (const iterations of LADDER) {
    if (time.start + iterations * time.each > useful || (all.at(-1)?.worst ?? Infinity) <= floor) break;
    const tried = { iterations, batches: 0, worst: 0, ratio: 0 };
    for (const { z, x } of batches) {
      const made = invert(setup, { block, z, plan: planOf(kind, iterations) });
      note(tried, sampleErrors(made.x.dataSync(), x.dataSync(), setup.sizes.B), largestChanges(made.report, setup.sizes.B));
      made.x.dispose();
    }
    all.push(tried);
  }
  return all;
}

function note(tried: Tried, errors: readonly number[], changes: readonly number[]): void {
  tried.batches++;
  // What overflowed is as wrong as can be, and its ratio says nothing.
  tried.worst = Math.max(tried.worst, ...errors.map((error) => (Number.isFinite(error) ? error : Infinity)));
  const ratios = errors.map((error, b) => error / changes[b]!).filter(Number.isFinite);
  tried.ratio = Math.max(tried.ratio, ...ratios);
}

const planOf = ({ segments, start }: TrialKind, iterations: number): BlockPlan => ({
  method: 'gs-jacobi',
  segments,
  iterations,
  guess: start,
});

function invert(
  { sampler, model, options, iteration }: PlanningSetup,
  at: { block: number; plan: BlockPlan; z: Tensor },
  more: Pick<BlockOptions, 'onIteration'> = {},
): { x: Tensor; report: BlockReport } {
  return sampler.blocks.invert(model, at, { ...options, ...iteration, ...more });
}

/**
 * By how much an error in the block's output grows until the image, all blocks after it inverted exactly: the most of any sample, with the
 * trial whose error is nearest to `wanted`.
 */
export function growthOf(
  setup: PlanningSetup,
  { block, batches }: BlockExamples,
  { trials, runs, after, wanted }: { trials: readonly Trial[]; runs: readonly SequentialRun[]; after: number; wanted: number },
): number {
  const distance = ({ worst }: Trial): number => Math.abs(Math.log(worst / wanted));
  const [nearest] = trials.filter(({ worst }) => worst > 0 && worst < Infinity).sort((a, b) => distance(a) - distance(b));
  if (nearest === undefined || block === 0) return 1;
  const { B } = setup.sizes;
  const growths = batches.flatMap(({ z }, i) => {
    const exact = runs[i]!.outputs;
    let { x } = invert(setup, { block, plan: nearest.plan, z });
    const errors = sampleErrors(x.dataSync(), exact[after]!.dataSync(), B);
    for (let next = block - 1; next >= 0; next--) {
      const before = x;
      ({ x } = invert(setup, { block: next, plan: { method: 'sequential' }, z: before }));
      before.dispose();
    }
    const atEnd = sampleErrors(x.dataSync(), exact.at(-1)!.dataSync(), B);
    x.dispose();
    return atEnd.flatMap((error, b) => (error / errors[b]! < Infinity ? [error / errors[b]!] : []));
  });
  return growths.length === 0 ? 1 : Math.max(...growths);
}

/** The median time of three calls. */
function timed(now: () => number, call: () => Tensor): number {
  return median(
    [0, 1, 2].map(() => {
      const start = now();
      const x = call();
      x.dataSync();
      const ms = now() - start;
      x.dispose();
      return ms;
    }),
  );
}
