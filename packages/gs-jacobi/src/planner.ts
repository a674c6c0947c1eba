import { checkNumber } from '@atelier/nn';
import { permute, tokenSizes, type TarFlow } from '@atelier/tarflow';
import { disposeTree, tf, type Tensor } from '@atelier/tensor';
import { bestWithin, cheapestWithin, paretoFront, type Allocation, type Choice } from './allocation.ts';
import type { BlockOptions } from './block-inverter.ts';
import { bestGuesses, crmStack, type BlockMetrics } from './convergence-ranking.ts';
import type { GsJacobiSampler } from './sampler.ts';
import type { BlockPlan, Guess, Strategy } from './strategy.ts';

export type PlannerOptions = {
  /** CRM and IGM of the model: which blocks are tried in many segments, and which of the two published guesses is tried. */
  metrics: readonly BlockMetrics[];
  /** What is asked for: a root mean square error of the images against the sequential ones, or a time in ms for a batch. */
  goal: { rmse: number } | { ms: number };
  /** A clock in ms. */
  now: () => number;
  /** Labels, guidance, and means of every block; with means the guess `mean` is tried too. */
  options?: Pick<BlockOptions, 'y' | 'guidance' | 'means'>;
  /** Numbers of segments to try for blocks of the stack, and for the others. */
  segments?: { stack: readonly number[]; others: readonly number[] };
  /** Blocks with a CRM% of at least this many times 100/K are the stack. */
  stackFactor?: number;
  /** Share of the error asked for that is left free, for samples that are harder than those it was measured on. */
  margin?: number;
};

/** A way to invert a block that was tried. */
export type Trial = { plan: BlockPlan; ms: number; rmse: number };

export type Plan = {
  strategy: Strategy;
  /** Options that the strategy was measured with, for the sampler. */
  options: { tolerance: number };
  /** What it does on the samples it was planned on. */
  measured: { rmse: number; ms: number; sequentialMs: number };
  /** Everything tried, in the order of sampling, and by how much an error of the block's output grows up to the image. */
  blocks: { block: number; trials: Trial[]; growth: number }[];
};

/** As many iterations as the plan says: nothing is looked at before a block is done. */
const FIXED = { tolerance: -1 } as const;
/** Numbers of iterations that are tried for several segments, where each is a run of its own. */
const LADDER = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 64];
/** How often the strategy is run and what it may use corrected. */
const ROUNDS = 8;
/** An error of one block below this share of the goal is as good as none. */
const NEGLIGIBLE = 0.02;
/** Goal by which trials end where only a time is asked for. */
const FINE = 1e-4;

/**
 * Chooses for every block of a TarFlow how it is inverted: token by token, or in how many segments, by how many iterations, from which guess.
 * The paper publishes no rule for this; this one measures, on a handful of samples.
 *
 * 1. The samples are drawn sequentially once; that gives every block its exact input and output.
 * 2. Each block alone is inverted from its exact input in several ways. Blocks with a large CRM% are tried in many segments, the others in few;
 *    the start is the guess with the smaller IGM, and `mean` if there are means. The error is told after each number of iterations; the time
 *    of an iteration, which is the same for all blocks, is taken for each number of segments.
 * 3. An error in a block's output goes through all blocks after it, inverted exactly, once: by how much it grows.
 * 4. Of all combinations the cheapest is taken whose errors, grown and added in squares, keep within the goal (or the best within the time).
 * 5. That strategy is run. If it misses the error asked for, or leaves much of it free, what step 4 may use is changed in proportion.
 *
 * @param noise samples to plan on [B, T, D], in batches of the size that is to be drawn later: several batches tell more than one
 */
export function planStrategy(sampler: GsJacobiSampler, model: TarFlow, noise: readonly Tensor[], planning: PlannerOptions): Plan {
  const { config } = sampler;
  const { goal, margin = 0.25, segments = { stack: [1, 2, 4, 8, 16, 32], others: [1, 2, 4] } } = planning;
  const world = checkPlanning(sampler, model, noise, planning);
  const samples = noise.map((batch) => drawExactly(world, batch));
  const sequentialMs = median(samples.map(({ ms }) => ms));
  const wanted = 'rmse' in goal ? goal.rmse * (1 - margin) : FINE;
  const times = new Map<number, number>();
  const stack = crmStack(planning.metrics, planning.stackFactor);
  const blocks = bestGuesses(planning.metrics).map((guess, i): Plan['blocks'][number] => {
    const at = { block: config.blocks - 1 - i, samples: samples.map(({ outputs }) => ({ z: outputs[i]!, x: outputs[i + 1]! })) };
    const counts = (stack.includes(at.block) ? segments.stack : segments.others).filter((count) => 2 * count <= world.T);
    const guesses: Guess[] = world.options.means === undefined ? [guess] : [guess, 'mean'];
    const trials: Trial[] = [{ plan: { method: 'sequential' }, ms: sequentialMs / config.blocks, rmse: 0 }];
    for (const count of counts)
      for (const start of guesses) trials.push(...tryBlock(world, at, { count, start, known: trials, times, floor: NEGLIGIBLE * wanted }));
    return { block: at.block, trials, growth: growthOf(world, at, trials, { exact: samples[0]!, after: i + 1, wanted }) };
  });
  const front = paretoFront(
    blocks.map(({ trials, growth }) => trials.map(({ ms, rmse }): Choice => ({ cost: ms, squaredError: (growth * rmse) ** 2 }))),
  );
  const strategyOf = ({ choices }: Allocation): Strategy => choices.map((choice, i) => blocks[i]!.trials[choice]!.plan);
  const measure = (strategy: Strategy): Plan['measured'] => ({ ...runStrategy(world, noise, samples, strategy), sequentialMs });
  try {
    const chosen = 'ms' in goal ? bestWithin(front, goal.ms) : corrected(front, wanted, (sum) => measure(strategyOf(sum)).rmse);
    const strategy = strategyOf(chosen);
    return { strategy, options: FIXED, measured: measure(strategy), blocks };
  } finally {
    disposeTree(samples.map(({ outputs }) => outputs));
  }
}

/**
 * The cheapest sum that keeps within an error when it is run. Single errors do not add up just as assumed, so what their sum may be is
 * corrected by what came out, between the dearest sum that is known to miss and the cheapest that is known to keep within.
 */
function corrected(front: readonly Allocation[], wanted: number, run: (sum: Allocation) => number): Allocation {
  // The last of the front has the least error of all.
  let [missing, within] = [-1, front.length - 1];
  let allowed = wanted;
  for (let round = 0; round < ROUNDS && missing + 1 < within; round++) {
    const guess = front.indexOf(cheapestWithin(front, allowed));
    const at = Math.min(within - 1, Math.max(missing + 1, guess));
    const rmse = run(front[at]!);
    if (rmse <= wanted) within = at;
    else missing = at;
    if (rmse <= wanted && rmse > 0.8 * wanted) break;
    allowed = (Math.sqrt(front[at]!.squaredError) * 0.9 * wanted) / rmse;
  }
  return front[within]!;
}

/** What all steps need. */
type World = {
  sampler: GsJacobiSampler;
  model: TarFlow;
  now: () => number;
  options: NonNullable<PlannerOptions['options']>;
  T: number;
};
/** A block and its exact inputs and outputs, in image order. */
type Site = { block: number; samples: { z: Tensor; x: Tensor }[] };
/** The outputs of all blocks of one batch, the prior's first. */
type Exact = { outputs: Tensor[]; ms: number };

function drawExactly({ sampler, model, now, options }: World, noise: Tensor): Exact {
  const draw = (): Exact => {
    const outputs = [sampler.prior(model, noise)];
    const start = now();
    for (let block = sampler.config.blocks - 1; block >= 0; block--) {
      const { x } = sampler.blocks.invert(model, { block, plan: { method: 'sequential' }, z: outputs.at(-1)! }, options);
      outputs.push(x);
    }
    outputs.at(-1)!.dataSync();
    return { outputs, ms: now() - start };
  };
  // The first time graphs are made.
  disposeTree(draw().outputs);
  return draw();
}

/** The error of a block, inverted alone from its exact input, after some numbers of iterations; it ends where more are of no use. */
function tryBlock(
  { sampler, model, now, options }: World,
  { block, samples }: Site,
  {
    count,
    start,
    known,
    times,
    floor,
  }: { count: number; start: Guess; known: readonly Trial[]; times: Map<number, number>; floor: number },
): Trial[] {
  const planOf = (iterations: number): BlockPlan => ({ method: 'gs-jacobi', segments: count, iterations, guess: start });
  const run = (iterations: number, z: Tensor, onIteration?: BlockOptions['onIteration']): Tensor =>
    sampler.blocks.invert(model, { block, plan: planOf(iterations), z }, { ...options, ...FIXED, ...(onIteration && { onIteration }) }).x;
  if (!times.has(count)) {
    const z = samples[0]!.z;
    run(1, z).dispose();
    const one = timed(now, () => run(1, z));
    const five = timed(now, () => run(5, z));
    times.set(count, Math.max((five - one) / 4, five / 10));
  }
  const ms = times.get(count)!;
  // Of what is known already and as good as exact, the cheapest: nothing dearer is of use.
  const useful = (): number => Math.min(...[...known, ...trials].filter(({ rmse }) => rmse <= floor).map((trial) => trial.ms));
  const trials: Trial[] = [];
  const most = Math.max(1, Math.floor(useful() / ms));
  if (count === 1) {
    // One run shows the error after every iteration.
    const squares = new Float64Array(most);
    for (const { z, x } of samples) {
      const wanted = tf.tidy(() => permute(x, block).dataSync());
      const look = ({ iteration, x: iterate }: { iteration: number; x: Tensor }): void => {
        squares[iteration - 1]! += meanSquare(iterate.dataSync(), wanted) / samples.length;
      };
      run(most, z, look).dispose();
    }
    squares.forEach((square, n) => trials.push({ plan: planOf(n + 1), ms: (n + 1) * ms, rmse: Math.sqrt(square) }));
    const enough = trials.findIndex(({ rmse }) => rmse <= floor);
    return enough < 0 ? trials : trials.slice(0, enough + 1);
  }
  for (const iterations of LADDER) {
    if (iterations * ms > useful()) break;
    let square = 0;
    for (const { z, x } of samples) {
      const made = run(iterations, z);
      square += meanSquare(made.dataSync(), x.dataSync()) / samples.length;
      made.dispose();
    }
    trials.push({ plan: planOf(iterations), ms: iterations * ms, rmse: Math.sqrt(square) });
    if (Math.sqrt(square) <= floor) break;
  }
  return trials;
}

/** By how much an error in the block's output grows until the image, all blocks after it inverted exactly. */
function growthOf(
  { sampler, model, options }: World,
  { block, samples }: Site,
  trials: readonly Trial[],
  { exact, after, wanted }: { exact: Exact; after: number; wanted: number },
): number {
  const distance = ({ rmse }: Trial): number => Math.abs(Math.log(rmse / wanted));
  const inexact = trials.filter(({ rmse }) => rmse > 0).sort((a, b) => distance(a) - distance(b));
  if (inexact.length === 0 || block === 0) return 1;
  const invert = (at: number, plan: BlockPlan, z: Tensor): Tensor =>
    sampler.blocks.invert(model, { block: at, plan, z }, { ...options, ...FIXED }).x;
  let x = invert(block, inexact[0]!.plan, samples[0]!.z);
  const error = Math.sqrt(meanSquare(x.dataSync(), exact.outputs[after]!.dataSync()));
  for (let next = block - 1; next >= 0; next--) {
    const before = x;
    x = invert(next, { method: 'sequential' }, before);
    before.dispose();
  }
  const atEnd = Math.sqrt(meanSquare(x.dataSync(), exact.outputs.at(-1)!.dataSync()));
  x.dispose();
  return error === 0 ? 1 : atEnd / error;
}

function runStrategy(
  { sampler, model, now, options }: World,
  noise: readonly Tensor[],
  exact: readonly Exact[],
  strategy: Strategy,
): { rmse: number; ms: number } {
  const times: number[] = [];
  let square = 0;
  for (const [i, batch] of noise.entries()) {
    const draw = (): Float32Array => {
      let last: Float32Array | undefined;
      const onBlock = ({ block, x }: { block: number; x: Tensor }): void =>
        void (block === 0 && (last = x.dataSync().slice() as Float32Array));
      sampler(model, batch, { strategy, ...options, ...FIXED, onBlock }).images.dispose();
      return last!;
    };
    if (i === 0) draw();
    const start = now();
    const made = draw();
    times.push(now() - start);
    square += meanSquare(made, exact[i]!.outputs.at(-1)!.dataSync()) / noise.length;
  }
  return { rmse: Math.sqrt(square), ms: median(times) };
}

function checkPlanning(sampler: GsJacobiSampler, model: TarFlow, noise: readonly Tensor[], planning: PlannerOptions): World {
  const where = 'planStrategy';
  const { goal, metrics, margin = 0.25, now, options = {} } = planning;
  const { blocks } = sampler.config;
  if (noise.length === 0) throw new Error(`${where}: noise: wanted at least one batch, got none`);
  if (metrics.length !== blocks) throw new Error(`${where}: metrics: wanted those of ${blocks} blocks, got ${metrics.length}`);
  const [asked] = Object.entries(goal);
  if (asked === undefined || Object.keys(goal).length !== 1 || !['rmse', 'ms'].includes(asked[0]))
    throw new Error(`${where}: goal: wanted either rmse or ms, got ${JSON.stringify(goal)}`);
  checkNumber(`${where}: goal: ${asked[0]}`, asked[1], { above: 0 });
  checkNumber(`${where}: margin`, margin, { min: 0, below: 1 });
  for (const batch of noise) sampler.blocks.check(model, batch, new Map(), options);
  return { sampler, model, now, options, T: tokenSizes(sampler.config).T };
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

function meanSquare(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return sum / a.length;
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
