import { permute, type TarFlow } from '@atelier/tarflow';
import { disposeTree, tf, type Tensor } from '@atelier/tensor';
import type { BlockOptions } from './block-inverter.ts';
import type { GsJacobiSampler } from './sampler.ts';
import type { BlockPlan, Guess, Strategy } from './strategy.ts';

/** As many iterations as the plan says, and how many of them go into one graph: where one is short, four at a time are faster. */
type Fixed = { tolerance: -1; unroll: 1 | 4 };
const FASTER = 0.9;
/** Numbers of iterations that are tried for several segments, where each is a run of its own. */
const LADDER = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 64];
/** A way to invert a block that was tried. */
export type Trial = { plan: BlockPlan; ms: number; rmse: number };

/** What all steps need. */
export type World = {
  sampler: GsJacobiSampler;
  model: TarFlow;
  now: () => number;
  options: Pick<BlockOptions, 'y' | 'guidance' | 'means'>;
  fixed: Fixed;
  T: number;
};
/** ms that a number of segments takes before its first iteration, and for each. */
export type Pace = { start: number; each: number };
/** A block and its exact inputs and outputs, in image order. */
export type Site = { block: number; samples: { z: Tensor; x: Tensor }[] };
/** The outputs of all blocks of one batch, the prior's first. */
export type Exact = { outputs: Tensor[]; ms: number };

export function drawExactly({ sampler, model, now, options }: World, noise: Tensor): Exact {
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

/** Whether four Jacobi iterations are faster in one graph than one by one. */
export function fasterIterations({ sampler, model, now, options }: World, z: Tensor): Fixed {
  const block = sampler.config.blocks - 1;
  const plan: BlockPlan = { method: 'gs-jacobi', segments: 1, iterations: 4, guess: 'z' };
  const [single, joined] = ([1, 4] as const).map((unroll) => {
    const run = (): Tensor => sampler.blocks.invert(model, { block, plan, z }, { ...options, tolerance: -1, unroll }).x;
    run().dispose();
    return timed(now, run);
  }) as [number, number];
  return { tolerance: -1, unroll: joined < FASTER * single ? 4 : 1 };
}

/** The error of a block, inverted alone from its exact input, after some numbers of iterations; it ends where more are of no use. */
export function tryBlock(
  { sampler, model, now, options, fixed, T }: World,
  { block, samples }: Site,
  { count, start, known, times, floor }: { count: number; start: Guess; known: readonly Trial[]; times: Map<number, Pace>; floor: number },
): Trial[] {
  const planOf = (iterations: number): BlockPlan => ({ method: 'gs-jacobi', segments: count, iterations, guess: start });
  const run = (iterations: number, z: Tensor, onIteration?: BlockOptions['onIteration']): Tensor =>
    sampler.blocks.invert(model, { block, plan: planOf(iterations), z }, { ...options, ...fixed, ...(onIteration && { onIteration }) }).x;
  if (!times.has(count)) {
    const z = samples[0]!.z;
    // No segment is iterated more often than it has tokens.
    const most = Math.min(8, Math.floor(T / count));
    const few = Math.ceil(most / 2);
    run(most, z).dispose();
    run(few, z).dispose();
    const [short, long] = [timed(now, () => run(few, z)), timed(now, () => run(most, z))];
    const each = Math.max(most === few ? long : (long - short) / (most - few), long / (2 * most));
    times.set(count, { start: Math.max(0, short - few * each), each });
  }
  const { start: before, each } = times.get(count)!;
  const msOf = (iterations: number): number => before + iterations * each;
  // Of what is known already and as good as exact, the cheapest: nothing dearer is of use.
  const useful = (): number => Math.min(...[...known, ...trials].filter(({ rmse }) => rmse <= floor).map((trial) => trial.ms));
  const trials: Trial[] = [];
  const most = Math.max(1, Math.floor((useful() - before) / each));
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
    squares.forEach((square, n) => trials.push({ plan: planOf(n + 1), ms: msOf(n + 1), rmse: Math.sqrt(square) }));
    const enough = trials.findIndex(({ rmse }) => rmse <= floor);
    return enough < 0 ? trials : trials.slice(0, enough + 1);
  }
  for (const iterations of LADDER) {
    if (msOf(iterations) > useful()) break;
    let square = 0;
    for (const { z, x } of samples) {
      const made = run(iterations, z);
      square += meanSquare(made.dataSync(), x.dataSync()) / samples.length;
      made.dispose();
    }
    trials.push({ plan: planOf(iterations), ms: msOf(iterations), rmse: Math.sqrt(square) });
    if (Math.sqrt(square) <= floor) break;
  }
  return trials;
}

/** By how much an error in the block's output grows until the image, all blocks after it inverted exactly. */
export function growthOf(
  { sampler, model, options, fixed }: World,
  { block, samples }: Site,
  trials: readonly Trial[],
  { exact, after, wanted }: { exact: Exact; after: number; wanted: number },
): number {
  const distance = ({ rmse }: Trial): number => Math.abs(Math.log(rmse / wanted));
  const inexact = trials.filter(({ rmse }) => rmse > 0).sort((a, b) => distance(a) - distance(b));
  if (inexact.length === 0 || block === 0) return 1;
  const invert = (at: number, plan: BlockPlan, z: Tensor): Tensor =>
    sampler.blocks.invert(model, { block: at, plan, z }, { ...options, ...fixed }).x;
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

export function runStrategy(
  { sampler, model, now, options, fixed }: World,
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
      sampler(model, batch, { strategy, ...options, ...fixed, onBlock }).images.dispose();
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

export const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
