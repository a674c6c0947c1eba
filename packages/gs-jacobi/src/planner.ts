import { checkNumber, disposeTree, type Tensor } from '@atelier/tensor';
import { tokenSizes, type TarFlow } from '@atelier/tarflow';
import { bestWithin, cheapestWithin, paretoFront, type Allocation, type Choice } from './allocation.ts';
import type { BlockOptions } from './block-inverter.ts';
import { bestGuesses, crmStack, type BlockMetrics } from './convergence-ranking.ts';
import type { GsJacobiSampler } from './sampler.ts';
import type { Guess, Strategy } from './strategy.ts';
import { drawExactly, fasterIterations, growthOf, median, runStrategy, tryBlock, type Pace, type Trial, type World } from './trials.ts';

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
  /** Share of the error asked for that is left free, for samples that are harder than those it was measured on; 0.4 if not given. */
  margin?: number;
};

export type Plan = {
  strategy: Strategy;
  /** Options that the strategy was measured with, for the sampler. */
  options: { tolerance: number; unroll: number };
  /** What it does on the samples it was planned on. */
  measured: { rmse: number; ms: number; sequentialMs: number };
  /** Everything tried, in the order of sampling, and by how much an error of the block's output grows up to the image. */
  blocks: { block: number; trials: Trial[]; growth: number }[];
};

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
  const { goal, margin = 0.4, segments = { stack: [1, 2, 4, 8, 16, 32], others: [1, 2, 4] } } = planning;
  const world = checkPlanning(sampler, model, noise, planning);
  const samples = noise.map((batch) => drawExactly(world, batch));
  world.fixed = fasterIterations(world, samples[0]!.outputs[0]!);
  const sequentialMs = median(samples.map(({ ms }) => ms));
  const wanted = 'rmse' in goal ? goal.rmse * (1 - margin) : FINE;
  const times = new Map<number, Pace>();
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
    return { strategy, options: world.fixed, measured: measure(strategy), blocks };
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

function checkPlanning(sampler: GsJacobiSampler, model: TarFlow, noise: readonly Tensor[], planning: PlannerOptions): World {
  const where = 'planStrategy';
  const { goal, metrics, margin = 0.4, now, options = {} } = planning;
  const { blocks } = sampler.config;
  if (noise.length === 0) throw new Error(`${where}: noise: wanted at least one batch, got none`);
  if (metrics.length !== blocks) throw new Error(`${where}: metrics: wanted those of ${blocks} blocks, got ${metrics.length}`);
  const [asked] = Object.entries(goal);
  if (asked === undefined || Object.keys(goal).length !== 1 || !['rmse', 'ms'].includes(asked[0]))
    throw new Error(`${where}: goal: wanted either rmse or ms, got ${JSON.stringify(goal)}`);
  checkNumber(`${where}: goal: ${asked[0]}`, asked[1], { above: 0 });
  checkNumber(`${where}: margin`, margin, { min: 0, below: 1 });
  for (const batch of noise) sampler.blocks.check(model, batch, new Map(), options);
  return { sampler, model, now, options, fixed: { tolerance: -1, unroll: 1 }, T: tokenSizes(sampler.config).T };
}
