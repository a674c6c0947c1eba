import { checkNumber, disposeTree, type Tensor, tf, type Tree, treeMap } from '@atelier/tensor';
import type { CausalProblem } from './causal-map.ts';
import { problemSizes, type CompiledMap } from './compiled-map.ts';
import { advance } from './exact.ts';
import type { Fixed, Iterate } from './iteration.ts';
import { segmentRanges, type SegmentRange } from './segments.ts';
import { totalCost, type SegmentReport, type Solution, type Stop } from './solution.ts';
import { tokens } from './token-axis.ts';

export type GsJacobiOptions = {
  /** Their number (as equal as can be) or their sizes. 1 is plain Jacobi iteration on all tokens. */
  segments: number | readonly number[];
  /** Bound on the iterations of a segment. */
  iterations: number;
  /** ε: a segment is done when its change δ <= ε; negative for as many iterations as the bound says. 1e-6 if not given, the official value. */
  tolerance?: number;
  /**
   * Largest change of a sample in a segment, √(Σ (X' - X)² / (T·D)) in its last iteration, with which the segment may end: it iterates on beyond
   * `iterations` until no sample of the batch exceeds it, or until the segment is exact. The graphs give the changes with each iteration, so
   * looking costs nothing. Not with clipping, and only with stopping by batch.
   */
  largestChange?: number;
  /** c: values are clipped to [-c, c] after each iteration; never if not given. With clipping the result is not the sequential one. */
  clamp?: number;
  /**
   * δ of what: of the whole `batch`, ‖X' - X‖_F / (B·D), which is official, or of each `sample`, ‖X' - X‖_F / D, each of which stops for
   * itself; then a sample's result does not depend on what else is in the batch.
   */
  stopping?: 'batch' | 'sample';
  /**
   * Keys and values of a segment: of its last evaluation (`stale`, official: of the iterate before the final one), or of one more evaluation
   * on the final values (`fresh`).
   */
  cache?: 'stale' | 'fresh';
  /** Whether a segment that overflows starts anew token by token. Without it the values stay as they are, and `stop` says 'non-finite'. */
  fallback?: boolean;
  /** Iterations in one graph between two looks at δ, which changes nothing but the time it takes. Only with stopping by batch. */
  unroll?: number;
  /** Looks on after each iteration; `x` [B, T, D] is lent, `changes` are those of the samples. Iterations are then run one by one. */
  onIteration?: (state: { segment: number; iteration: number; x: Tensor; changes: number[] }) => void;
};

type Optional = 'clamp' | 'largestChange' | 'onIteration';
type Settings = Required<Omit<GsJacobiOptions, Optional>> & Pick<GsJacobiOptions, Optional>;

/**
 * Solves X_{i+1} = next(X_0 … X_i) by Gauss-Seidel-Jacobi iteration (arXiv 2505.12849; encoreus/GS-Jacobi_for_TarFlow
 * GS_Jacobi_sampling.py:286-460): segments one after the other, the tokens of each all at once from their last values, until they settle.
 *
 * After n iterations the first n unknowns of a segment are exact, whatever the guess, so without clipping no segment takes more iterations
 * than it has unknowns.
 */
export function solveGsJacobi<P extends Tree, I extends Tree, C extends Tree>(
  graphs: CompiledMap<P, I, C>,
  problem: CausalProblem<P, I>,
  options: GsJacobiOptions,
): Solution {
  const { T } = problemSizes(problem, 'solveGsJacobi');
  const settings = checkOptions(options);
  const ranges = segmentRanges(T, settings.segments, 'solveGsJacobi');
  const { params, inputs } = problem;
  const segments: SegmentReport[] = [];
  let x: Tensor = tf.clone(problem.guess);
  let past: C | undefined;
  for (const [index, range] of ranges.entries()) {
    const fixed: Fixed<P, I, C> = past === undefined ? { params, inputs } : { params, inputs, past };
    const solved = solveSegment(graphs, x, fixed, { index, range, T }, settings);
    ({ x } = solved);
    const { report, own } = solved;
    segments.push(report);
    const isLast = range.last === T - 1;
    if (report.stop === 'non-finite' && settings.fallback) {
      if (own !== undefined) graphs.release(own);
      const rest = advance<P, I, C>(graphs, problem, past === undefined ? { x } : { x, past }, range, { window: 1, tolerance: 0 });
      ({ x } = rest);
      report.single = rest.report.depth;
      report.changes.fill(0);
      report.stop = 'sequential';
      past = isLast ? undefined : lastTokens(graphs, rest.past!, range.end);
      if (isLast) graphs.release(rest.past!);
    } else if (isLast) graphs.release([...(past === undefined ? [] : [past]), ...(own === undefined ? [] : [own])]);
    else past = graphs.append(past, own!);
    if (isLast) break;
  }
  const costs = segments.map(({ iterations, renewals, single, size }) => ({
    depth: iterations + renewals + single,
    work: ((iterations + renewals) * size + single) / T,
  }));
  return { x, report: { ...totalCost(costs), segments } };
}

/** One segment of the batch x, which is used up. */
function solveSegment<P extends Tree, I extends Tree, C extends Tree>(
  graphs: CompiledMap<P, I, C>,
  start: Tensor,
  fixed: Fixed<P, I, C>,
  at: SegmentPlace,
  settings: Settings,
): { x: Tensor; own: C | undefined; report: SegmentReport } {
  const { clamp, stopping, unroll, onIteration } = settings;
  const { range, T } = at;
  const [B, , D] = start.shape as [number, number, number];
  const { first, end, last } = range;
  const report: SegmentReport = {
    first,
    size: end - first,
    iterations: 0,
    renewals: 0,
    single: 0,
    deltas: [],
    changes: new Array<number>(B).fill(0),
    stop: 'exact',
  };
  if (last === first) return { x: start, own: undefined, report };
  const limits = iterationLimits(settings, last - first);
  const rule = stopping === 'sample' ? stopEachSample(settings.tolerance, B, D) : stopBatch(settings.tolerance, B, D);
  let state = rule.start(start);
  let own: C | undefined;
  let stop: Stop | undefined;
  while (stop === undefined) {
    const together = Math.max(1, Math.min(unroll, limits.planned - report.iterations));
    const control = rule.control();
    if (own !== undefined) graphs.release(own);
    const out = graphs.iteration({ range, T, clamp, unroll: together, stopping })(state, fixed, control);
    ({ state, own } = out);
    const done = out.done.dataSync()[0]!;
    const squares = (out.squares.dataSync() as Float32Array).subarray(0, done * B);
    disposeTree([control, out.squares, out.done]);
    noteIterations(report, squares, { B, T, D });
    onIteration?.({ segment: at.index, iteration: report.iterations, x: rule.current(state), changes: report.changes });
    stop = whetherToStop(report, { ...limits, settled: rule.settled(squares.subarray(-B)) });
  }
  report.stop = stop;
  if (rule.perSample !== undefined) report.perSample = rule.perSample;
  const x = rule.finish(state);
  if (settings.cache === 'fresh' && last < T - 1 && stop !== 'non-finite') {
    graphs.release(own!);
    own = renewedCache(graphs, x, fixed, at);
    report.renewals = 1;
  }
  return { x, own, report };
}

/** Where a segment is: the how manieth it is, its tokens, and the tokens in all. */
type SegmentPlace = { index: number; range: SegmentRange; T: number };

/** Iterations that are planned, and that are run at most; which stop it is to reach the latter; and the change that they go on for. */
type IterationLimits = { planned: number; most: number; atMost: Stop; largestChange: number | undefined };

function iterationLimits({ iterations, clamp, largestChange }: Settings, unknowns: number): IterationLimits {
  // After as many iterations as unknowns everything is exact, unless values are clipped.
  const planned = clamp === undefined ? Math.min(iterations, unknowns) : iterations;
  if (largestChange !== undefined) return { planned, most: unknowns, atMost: 'exact', largestChange };
  return { planned, most: planned, atMost: planned < iterations ? 'exact' : 'bound', largestChange };
}

/** Adds iterations to a report by Σ (X' - X)² of each sample in each of them [r · B]. */
function noteIterations(report: SegmentReport, squares: Float32Array, { B, T, D }: { B: number; T: number; D: number }): void {
  for (let at = 0; at < squares.length; at += B) {
    const sum = squares.subarray(at, at + B).reduce((total, value) => total + value, 0);
    report.deltas.push(Math.sqrt(sum) / (B * D));
    report.iterations++;
  }
  report.changes = Array.from(squares.subarray(-B), (square) => Math.sqrt(square / (T * D)));
}

/** Why a segment ends here; undefined if it does not. */
function whetherToStop(
  { iterations, deltas, changes }: SegmentReport,
  { planned, most, atMost, largestChange, settled }: IterationLimits & { settled: boolean },
): Stop | undefined {
  if (!Number.isFinite(deltas.at(-1)!)) return 'non-finite';
  const within = largestChange === undefined || changes.every((change) => change <= largestChange);
  if (within && (settled || (largestChange !== undefined && iterations >= planned))) return 'tolerance';
  return iterations >= most ? atMost : undefined;
}

/** By what iterations are ended before their bound: the change of the batch, or that of each sample for itself. */
type StoppingRule = {
  start(x: Tensor): Iterate;
  /** What the graph of an iteration is told. */
  control(): Tensor;
  /** Whether all is settled, by Σ (X' - X)² of each sample in the last iteration [B]. */
  settled(squares: Float32Array): boolean;
  /** The last values of an iterate, lent. */
  current(state: Iterate): Tensor;
  /** The last values of an iterate, which is used up. */
  finish(state: Iterate): Tensor;
  /** Iterations until each sample was settled. */
  perSample?: number[];
};

/** ‖X' - X‖_F / (B·D) <= ε; no iteration is ended by a negative ε. */
function stopBatch(tolerance: number, B: number, D: number): StoppingRule {
  return {
    start: (x) => ({ x }),
    // The square of the bound on δ·B·D, which is how the graph counts.
    control: () => tf.scalar(tolerance < 0 ? -1 : (tolerance * B * D) ** 2),
    settled: (squares) => Math.sqrt(squares.reduce((sum, value) => sum + value, 0)) / (B * D) <= tolerance,
    current: ({ x }) => x,
    finish: ({ x }) => x,
  };
}

/** ‖X' - X‖_F / D <= ε of each sample, which then keeps its value. */
function stopEachSample(tolerance: number, B: number, D: number): StoppingRule {
  const active = new Float32Array(B).fill(1);
  const perSample = new Array<number>(B).fill(0);
  const next = (state: Iterate): Tensor => ('next' in state ? state.next : state.x);
  return {
    start: (x) => ({ x, next: tf.clone(x) }),
    control: () => tf.tensor1d(active),
    settled: (squares) => {
      squares.forEach((square, b) => {
        if (active[b] === 0) return;
        perSample[b]!++;
        if (!(Math.sqrt(square) / D > tolerance)) active[b] = 0;
      });
      return active.every((one) => one === 0);
    },
    current: next,
    finish: (state) => {
      state.x.dispose();
      return next(state);
    },
    perSample,
  };
}

/** Keys and values of a segment of x by one more evaluation on its final values. */
function renewedCache<P extends Tree, I extends Tree, C extends Tree>(
  graphs: CompiledMap<P, I, C>,
  x: Tensor,
  fixed: Fixed<P, I, C>,
  { range, T }: SegmentPlace,
): C {
  const never = tf.scalar(-1);
  const out = graphs.iteration({ range, T, clamp: undefined, unroll: 1, stopping: 'batch' })({ x: tf.clone(x) }, fixed, never);
  disposeTree([never, out.state, out.squares, out.done]);
  return out.own;
}

/** The last `count` tokens of a padded cache, which is used up. */
function lastTokens<P extends Tree, I extends Tree, C extends Tree>(graphs: CompiledMap<P, I, C>, past: C, count: number): C {
  const axis = graphs.map.pastAxis;
  const kept = tf.tidy(() => treeMap((leaf) => tokens(leaf, leaf.shape[axis]! - count, count, axis).clone(), past) as never) as C;
  disposeTree(past);
  return kept;
}

function checkOptions(options: GsJacobiOptions): Settings {
  const settings = { tolerance: 1e-6, stopping: 'batch', cache: 'stale', fallback: true, ...options } as Settings;
  const where = 'solveGsJacobi';
  checkNumber(`${where}: iterations`, settings.iterations, { integer: true, min: 1 });
  checkNumber(`${where}: tolerance`, settings.tolerance);
  if (settings.clamp !== undefined) checkNumber(`${where}: clamp`, settings.clamp, { above: 0 });
  if (settings.largestChange !== undefined) {
    checkNumber(`${where}: largestChange`, settings.largestChange, { above: 0 });
    if (settings.clamp !== undefined || settings.stopping === 'sample')
      throw new Error(`${where}: largestChange: wanted neither clamp nor stopping by sample with it, got one of them`);
  }
  if (settings.stopping !== 'batch' && settings.stopping !== 'sample')
    throw new Error(`${where}: stopping: wanted 'batch' or 'sample', got '${String(settings.stopping)}'`);
  if (settings.cache !== 'stale' && settings.cache !== 'fresh')
    throw new Error(`${where}: cache: wanted 'stale' or 'fresh', got '${String(settings.cache)}'`);
  checkNumber(`${where}: unroll`, settings.unroll ?? 1, { integer: true, min: 1 });
  const alone = settings.stopping === 'sample' || settings.onIteration !== undefined;
  return { ...settings, unroll: alone ? 1 : (settings.unroll ?? 1) };
}
