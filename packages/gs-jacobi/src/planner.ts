import { checkNumber, tf, type Tensor } from '@atelier/tensor';
import { readGuidance, tokenSizes, type TarFlow } from '@atelier/tarflow';
import { bestWithin, cheapestWithin, paretoFront, type Allocation } from './allocation.ts';
import type { BlockOptions } from './block-inverter.ts';
import { bestGuesses, crmStack, type BlockMetrics } from './convergence-ranking.ts';
import { estimatedError, largestRatio, usualChanges, withLargestChanges, type ErrorEstimate } from './error-estimate.ts';
import type { Plan, PlanMeasurements } from './plan.ts';
import type { GsJacobiSampler } from './sampler.ts';
import { everywhere, type Guess, type Strategy } from './strategy.ts';
import { fasterIterations, growthOf, iterationTime, tryBlock, type BlockExamples, type IterationTime, type Trial } from './trials.ts';
import {
  disposeRuns,
  drawSamples,
  drawSequentially,
  median,
  quantile,
  timePairs,
  type DrawnSample,
  type PlanningSetup,
  type SequentialRun,
} from './whole-samples.ts';

export type PlannerOptions = {
  /** CRM and IGM of the model: which blocks are tried in many segments, and which of the two published guesses is tried. */
  metrics: readonly BlockMetrics[];
  /**
   * The goal: either a root mean square error against the sequential image that **no sample** may exceed, or a time in ms per batch, which says nothing about
   * the error.
   */
  goal: { rmse: number } | { ms: number };
  /** A clock in ms. */
  now: () => number;
  /** The machine in words; the plan records it. */
  machine?: string;
  /** Labels, guidance, and means of every block. If there are means, the guess `mean` is tried too. */
  options?: Pick<BlockOptions, 'y' | 'guidance' | 'means'>;
  /** Numbers of segments to try for blocks of the stack, and for the others. */
  segments?: { stack: readonly number[]; others: readonly number[] };
  /** Blocks with a CRM% of at least this many times 100/K are the stack. */
  stackFactor?: number;
  /** Safety factor: the goal is kept even if an error is this many times the largest one measured for such changes; 1.5 if absent. */
  safety?: number;
  /** Number of pairs of whole batches (planned, and token by token) whose times decide which way is faster; 7 if absent. */
  pairs?: number;
};

/** The number of strategies that the search runs, and how often the largest changes are reduced. */
const ROUNDS = 8;
const TIGHTENINGS = 3;
/** The smallest number of samples for a plan, and the approximate number of samples that blocks are tried on. */
const LEAST_SAMPLES = 8;
const TRIAL_SAMPLES = 4;
/** An error of one block below this share of the goal can be ignored. */
const NEGLIGIBLE = 0.02;
/** Trials end at this error if the goal is a time. */
const FINE = 1e-4;
/** Three quarters of the pairs must be faster than sequential sampling by this factor. */
const FASTER = 1.05;

/**
 * Chooses for every block of a TarFlow how it is inverted: token by token, or in how many segments, by how many iterations, from which guess.
 * The paper publishes no rule for this; this one measures.
 *
 * 1. All samples are drawn sequentially; that gives every block its exact input and output.
 * 2. Each block is inverted by itself, from its exact input, in several ways, on a few samples. Blocks with a large CRM% are tried in many segments,
 *    the others in few; the start is the guess with the smaller IGM, and `mean` if there are means.
 * 3. One of these trials measures by how much an error in a block's output grows in the later blocks.
 * 4. The cheapest combination whose estimate keeps the goal is run on all samples. Depending on the measured error, cheaper or more accurate ones follow.
 * 5. Each block gets a largest change (see `ErrorEstimate`). While sampling, a block runs more iterations until none of its samples exceeds it.
 * 6. Whole batches are timed in pairs, planned and token by token in turns. Unless three quarters of the pairs are faster, the plan is
 *    `sequential`.
 *
 * **What is promised.** Each sample is judged by the changes in its own iterations. So the goal is also kept for samples that are harder than those seen, and
 * at any batch size; such samples take longer. The change gives the error only to first order, through a measured ratio: the largest of n samples. A new
 * sample of the same kind exceeds this ratio with a probability of at most about 1 / (n + 1). The goal is missed only if it exceeds `safety` times the
 * ratio. This is not a proof; `exact` gives one.
 *
 * @param noise batches [B, T, D] of the size that will be drawn later, with at least 8 samples in total; 16 or more are better
 * @throws Error if something does not fit
 */
export function planStrategy(sampler: GsJacobiSampler, model: TarFlow, noise: readonly Tensor[], planning: PlannerOptions): Plan {
  const setup = checkPlanning(sampler, model, noise, planning);
  const { goal, safety = 1.5 } = planning;
  const runs = drawAllSequentially(setup, noise);
  try {
    const images = runs.map(({ outputs }) => outputs.at(-1)!.dataSync().slice() as Float32Array);
    const sequentialMs = median(runs.map(({ ms }) => ms));
    setup.iteration = fasterIterations(setup, runs[0]!.outputs[0]!);
    const blocks = tryBlocks(setup, runs, { planning, sequentialMs, wanted: 'rmse' in goal ? goal.rmse / safety : FINE });
    const draw = (strategy: Strategy): DrawnSample[][] => drawSamples(setup, { noise, images, strategy });
    const proposal = 'rmse' in goal ? proposeWithin(blocks, { rmse: goal.rmse, safety, draw }) : { strategy: proposeFor(blocks, goal.ms) };
    return decide(setup, noise, { ...proposal, blocks, planning, sequentialMs, draw });
  } finally {
    disposeRuns(runs);
  }
}

/** A strategy, and how its error is estimated from its changes. `missed` says why no strategy is faster than token by token. */
type Proposal = { strategy: Strategy; estimate?: ErrorEstimate; missed?: string };

function drawAllSequentially(setup: PlanningSetup, noise: readonly Tensor[]): SequentialRun[] {
  // The first run makes the graphs.
  disposeRuns([drawSequentially(setup, noise[0]!)]);
  return noise.map((batch) => drawSequentially(setup, batch));
}

/** Steps 2 and 3: all trials of every block in the order of sampling. */
function tryBlocks(
  setup: PlanningSetup,
  runs: readonly SequentialRun[],
  { planning, sequentialMs, wanted }: { planning: PlannerOptions; sequentialMs: number; wanted: number },
): Plan['blocks'] {
  const { metrics, segments = { stack: [1, 2, 4, 8, 16, 32], others: [1, 2, 4] } } = planning;
  const { blocks: K } = setup.sampler.config;
  const stack = crmStack(metrics, planning.stackFactor);
  const some = runs.slice(0, Math.ceil(TRIAL_SAMPLES / setup.sizes.B));
  const known = new Map<number, IterationTime>();
  const floor = NEGLIGIBLE * wanted;
  return bestGuesses(metrics).map((guess, i): Plan['blocks'][number] => {
    const block = K - 1 - i;
    const examples: BlockExamples = { block, batches: some.map(({ outputs }) => ({ z: outputs[i]!, x: outputs[i + 1]! })) };
    const counts = (stack.includes(block) ? segments.stack : segments.others).filter((count) => 2 * count <= setup.sizes.T);
    const guesses: Guess[] = setup.options.means === undefined ? [guess] : [guess, 'mean'];
    const trials: Trial[] = [{ plan: { method: 'sequential' }, ms: sequentialMs / K, worst: 0, errorPerChange: 0 }];
    for (const count of counts)
      for (const start of guesses) {
        const time = iterationTime(setup, examples, { segments: count, known });
        // Trials that cost more than the cheapest practically exact one are not needed.
        const useful = Math.min(...trials.filter(({ worst }) => worst <= floor).map(({ ms }) => ms));
        trials.push(...tryBlock(setup, examples, { segments: count, start, time, useful, floor }));
      }
    return { block, trials, growth: growthOf(setup, examples, { trials, runs: some, after: i + 1, wanted }) };
  });
}

/** All combinations of one trial per block that no other combination beats in both time and error, the cheapest first. */
function frontOf(blocks: Plan['blocks']): Allocation[] {
  return paretoFront(
    blocks.map(({ trials, growth }) => trials.map(({ ms, worst }) => ({ cost: ms, squaredError: (growth * worst) ** 2 }))),
  );
}

const trialsOf = ({ choices }: Allocation, blocks: Plan['blocks']): Trial[] => choices.map((choice, i) => blocks[i]!.trials[choice]!);
const strategyOf = (trials: readonly Trial[]): Strategy => trials.map(({ plan }) => plan);

function proposeFor(blocks: Plan['blocks'], ms: number): Strategy {
  return strategyOf(trialsOf(bestWithin(frontOf(blocks), ms), blocks));
}

/** Steps 4 and 5: the cheapest strategy whose estimate keeps the goal for most batches, with largest changes that keep the goal for all batches. */
function proposeWithin(
  blocks: Plan['blocks'],
  { rmse, safety, draw }: { rmse: number; safety: number; draw: (strategy: Strategy) => DrawnSample[][] },
): Proposal {
  const front = frontOf(blocks);
  const judge = (sum: Allocation): Judged => {
    const trials = trialsOf(sum, blocks);
    const strategy = strategyOf(trials);
    const amplification = trials.map(({ errorPerChange }, i) => errorPerChange * blocks[i]!.growth);
    const drawn = draw(strategy);
    const factor = safety * largestRatio(drawn.flat(), amplification);
    const usual = usualChanges(drawn);
    return { strategy, amplification, factor, usual, error: factor * estimatedError(amplification, usual) };
  };
  const { strategy, usual, ...estimate } = cheapestJudged(front, { wanted: rmse, first: rmse / safety, judge });
  if (isSequential(strategy)) return { strategy, missed: `no iteration that keeps an error of ${rmse} promised to be faster` };
  let allowed = rmse;
  for (let tightening = 0; tightening < TIGHTENINGS; tightening++) {
    const limited = withLargestChanges(strategy, { ...estimate, usual, allowed });
    const worst = Math.max(...draw(limited).flatMap((samples) => samples.map(({ error }) => error)));
    if (worst <= rmse) return { strategy: limited, estimate: { amplification: estimate.amplification, factor: estimate.factor } };
    allowed *= (0.7 * rmse) / worst;
  }
  return { strategy: tokenByToken(strategy), missed: `no iteration kept an error of ${rmse} for the samples that it was planned on` };
}

type Judged = ErrorEstimate & { strategy: Strategy; usual: number[]; error: number };

/**
 * Searches the cheapest combination of trials whose measured error is at most the wanted one. The errors of single blocks do not add up exactly as assumed.
 * So the limit on their sum starts at `first` and is corrected after each run. The search stays between the most expensive combination known to miss the
 * goal and the cheapest one known to keep it.
 */
function cheapestJudged(
  front: readonly Allocation[],
  { wanted, first, judge }: { wanted: number; first: number; judge: (sum: Allocation) => Judged },
): Judged {
  // The last combination of the front has the smallest error.
  let [missing, within] = [-1, front.length - 1];
  let best: Judged | undefined;
  let allowed = first;
  for (let round = 0; round < ROUNDS && missing + 1 < within; round++) {
    const guess = front.indexOf(cheapestWithin(front, allowed));
    const at = Math.min(within - 1, Math.max(missing + 1, guess));
    const judged = judge(front[at]!);
    if (judged.error <= wanted) [within, best] = [at, judged];
    else missing = at;
    if (judged.error <= wanted && judged.error > 0.8 * wanted) break;
    allowed = (Math.sqrt(front[at]!.squaredError) * 0.9 * wanted) / judged.error;
  }
  return best ?? judge(front[within]!);
}

/** Step 6: the plan, or `sequential` if no strategy is faster. */
function decide(
  setup: PlanningSetup,
  noise: readonly Tensor[],
  proposed: Proposal & {
    blocks: Plan['blocks'];
    planning: PlannerOptions;
    sequentialMs: number;
    draw: (strategy: Strategy) => DrawnSample[][];
  },
): Plan {
  const { strategy, estimate, missed, blocks, planning, sequentialMs, draw } = proposed;
  const { options, iteration, sizes } = setup;
  const guidance = readGuidance(options.guidance, 'planStrategy');
  const samples = noise.length * sizes.B;
  const common: Pick<Plan, 'options' | 'madeFor' | 'blocks'> = {
    options: iteration,
    madeFor: {
      batch: sizes.B,
      engine: tf.getBackend(),
      machine: planning.machine ?? 'not said',
      labelled: options.y !== undefined,
      ...(guidance && { guidance }),
    },
    blocks,
  };
  const sequential = (reason: string, measured: Pick<PlanMeasurements, 'ms' | 'sequentialMs'>): Plan => ({
    ...common,
    method: 'sequential',
    reason,
    strategy: tokenByToken(strategy),
    measured: { samples, worst: 0, rmse: 0, ...measured, ms: measured.sequentialMs, speedUp: { lowerQuartile: 1, median: 1 } },
  });
  if (missed !== undefined || isSequential(strategy))
    return sequential(missed ?? 'token by token keeps the time that was asked for', { ms: sequentialMs, sequentialMs });
  warmUp(setup, noise[0]!, strategy);
  const times = timePairs(setup, { noise, strategy, pairs: planning.pairs ?? 7 });
  const ratios = times.sequentialMs.map((ms, i) => ms / times.ms[i]!);
  const [ms, alone] = [median(times.ms), median(times.sequentialMs)];
  const speedUp = { lowerQuartile: quantile(ratios, 0.25), median: median(ratios) };
  const comparison = `batches of ${sizes.B} took ${ms.toFixed(1)} ms, and token by token ${alone.toFixed(1)} ms`;
  if (!(speedUp.lowerQuartile >= FASTER)) return sequential(`not faster: ${comparison}`, { ms: alone, sequentialMs: alone });
  const errors = draw(strategy).flatMap((batch) => batch.map(({ error }) => error));
  const rmse = Math.hypot(...errors) / Math.sqrt(errors.length);
  const measured = { samples, worst: Math.max(...errors), rmse, ms, sequentialMs: alone, speedUp };
  return { ...common, method: 'gs-jacobi', reason: `faster: ${comparison}`, strategy, measured, ...(estimate && { estimate }) };
}

/** Makes the graphs of single iterations, which harder samples need, before anything is timed. */
function warmUp({ sampler, model, options, iteration }: PlanningSetup, batch: Tensor, strategy: Strategy): void {
  sampler.sample(model, batch, { strategy, ...options, ...iteration, unroll: 1 }).images.dispose();
}

const isSequential = (strategy: Strategy): boolean => strategy.every(({ method }) => method === 'sequential');
const tokenByToken = (strategy: Strategy): Strategy => everywhere(strategy.length, { method: 'sequential' });

function checkPlanning(sampler: GsJacobiSampler, model: TarFlow, noise: readonly Tensor[], planning: PlannerOptions): PlanningSetup {
  const where = 'planStrategy';
  const { goal, metrics, safety = 1.5, pairs = 7, now, options = {} } = planning;
  const { blocks } = sampler.config;
  if (noise.length === 0) throw new Error(`${where}: noise: wanted at least one batch, got none`);
  if (metrics.length !== blocks) throw new Error(`${where}: metrics: wanted those of ${blocks} blocks, got ${metrics.length}`);
  const [asked] = Object.entries(goal);
  if (asked === undefined || Object.keys(goal).length !== 1 || !['rmse', 'ms'].includes(asked[0]))
    throw new Error(`${where}: goal: wanted either rmse or ms, got ${JSON.stringify(goal)}`);
  checkNumber(`${where}: goal: ${asked[0]}`, asked[1], { above: 0 });
  checkNumber(`${where}: safety`, safety, { min: 1 });
  checkNumber(`${where}: pairs`, pairs, { integer: true, min: 1 });
  for (const batch of noise) sampler.blocks.check(model, batch, new Map(), options);
  const B = noise[0]!.shape[0]!;
  const other = noise.find(({ shape }) => shape[0] !== B);
  if (other !== undefined) throw new Error(`${where}: noise: wanted batches of one size, got ${B} and ${other.shape[0]}`);
  if (noise.length * B < LEAST_SAMPLES)
    throw new Error(`${where}: noise: wanted at least ${LEAST_SAMPLES} samples in all, got ${noise.length * B}`);
  return { sampler, model, now, options, iteration: { tolerance: -1, unroll: 1 }, sizes: { B, ...tokenSizes(sampler.config) } };
}
