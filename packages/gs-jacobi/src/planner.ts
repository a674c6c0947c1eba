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
   * What is asked for: a root mean square error against the sequential image that **no sample** shall exceed, or a time in ms for a batch,
   * which promises nothing about the error.
   */
  goal: { rmse: number } | { ms: number };
  /** A clock in ms. */
  now: () => number;
  /** The machine in words, for the plan to say where it was made. */
  machine?: string;
  /** Labels, guidance, and means of every block; with means the guess `mean` is tried too. */
  options?: Pick<BlockOptions, 'y' | 'guidance' | 'means'>;
  /** Numbers of segments to try for blocks of the stack, and for the others. */
  segments?: { stack: readonly number[]; others: readonly number[] };
  /** Blocks with a CRM% of at least this many times 100/K are the stack. */
  stackFactor?: number;
  /** By how many times an error may exceed the largest that was seen for such changes, and still keep the goal; 1.5 if not given. */
  safety?: number;
  /** Pairs of whole batches, planned and token by token, by which the faster way is chosen; 7 if not given. */
  pairs?: number;
};

/** How many strategies are run in the search, and how often the largest changes are tightened. */
const ROUNDS = 8;
const TIGHTENINGS = 3;
/** Samples that a promise is made of, at least, and samples that blocks are tried on, about. */
const LEAST_SAMPLES = 8;
const TRIAL_SAMPLES = 4;
/** An error of one block below this share of the goal is as good as none. */
const NEGLIGIBLE = 0.02;
/** Error by which trials end where only a time is asked for. */
const FINE = 1e-4;
/** By how much three quarters of the pairs must be faster than sequential sampling. */
const FASTER = 1.05;

/**
 * Chooses for every block of a TarFlow how it is inverted: token by token, or in how many segments, by how many iterations, from which guess.
 * The paper publishes no rule for this; this one measures.
 *
 * 1. All samples are drawn sequentially; that gives every block its exact input and output.
 * 2. Each block alone is inverted from its exact input in several ways, on a few samples. Blocks with a large CRM% are tried in many segments,
 *    the others in few; the start is the guess with the smaller IGM, and `mean` if there are means.
 * 3. By how much an error in a block's output grows through the blocks after it is measured with one of these trials.
 * 4. Of all combinations the cheapest that seems to keep the goal is run on all samples, then others in proportion to what came out.
 * 5. Each block gets a largest change (see `ErrorEstimate`). While sampling, a block iterates on until none of its samples exceeds it.
 * 6. Whole batches are timed in pairs, planned and token by token in turns. Unless three quarters of the pairs are faster, the plan is
 *    `sequential`.
 *
 * **What is promised.** Each sample is judged by what its own iterations change, so the goal is kept for samples that are harder than those
 * seen, and at any batch size; they take longer. The change tells the error only to first order, by a ratio that is measured: the largest of
 * n samples. For one more sample of the same kind it is exceeded with a probability of at most about 1 / (n + 1); the goal is missed only
 * if it is exceeded `safety` times over. It is no proof: `exact` gives one.
 *
 * @param noise batches [B, T, D] of the size that is to be drawn later, at least 8 samples in all; 16 or more are better
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

/** A strategy, and how its changes tell its error; `missed` says why there is none that is faster than token by token. */
type Proposal = { strategy: Strategy; estimate?: ErrorEstimate; missed?: string };

function drawAllSequentially(setup: PlanningSetup, noise: readonly Tensor[]): SequentialRun[] {
  // The first time graphs are made.
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
        // Nothing dearer is of use than the cheapest that is as good as exact.
        const useful = Math.min(...trials.filter(({ worst }) => worst <= floor).map(({ ms }) => ms));
        trials.push(...tryBlock(setup, examples, { segments: count, start, time, useful, floor }));
      }
    return { block, trials, growth: growthOf(setup, examples, { trials, runs: some, after: i + 1, wanted }) };
  });
}

/** All sums of one trial for each block that no other beats in time and error, the cheapest first. */
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

/** Steps 4 and 5: the cheapest strategy whose estimate keeps the goal for the usual batch, with largest changes that keep it for all. */
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
 * The cheapest sum of trials whose error is within what is wanted when it is run. Single errors do not add up just as assumed, so what
 * their sum may be, at first `first`, is corrected by what came out, between the dearest sum that is known to miss and the cheapest that is
 * known to keep within.
 */
function cheapestJudged(
  front: readonly Allocation[],
  { wanted, first, judge }: { wanted: number; first: number; judge: (sum: Allocation) => Judged },
): Judged {
  // The last of the front has the least error of all.
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

/** Step 6: the plan, or that there is none that is faster. */
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
  sampler(model, batch, { strategy, ...options, ...iteration, unroll: 1 }).images.dispose();
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
