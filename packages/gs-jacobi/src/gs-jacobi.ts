import { checkNumber, disposeTree, type Tensor, tf, type Tree, treeMap } from '@atelier/tensor';
import type { CausalProblem } from './causal-map.ts';
import { problemSizes, type CompiledMap } from './compiled-map.ts';
import { advance } from './exact.ts';
import type { Fixed, Iterate } from './iteration.ts';
import { segmentRanges, type SegmentRange } from './segments.ts';
import { totalCost, type SegmentReport, type Solution } from './solution.ts';
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
  for (const [at, range] of ranges.entries()) {
    const fixed: Fixed<P, I, C> = past === undefined ? { params, inputs } : { params, inputs, past };
    const solved = solveSegment(graphs, x, fixed, { at, range, T }, settings);
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
  { at, range, T }: { at: number; range: SegmentRange; T: number },
  settings: Settings,
): { x: Tensor; own: C | undefined; report: SegmentReport } {
  const { tolerance, clamp, largestChange, stopping, unroll, onIteration } = settings;
  const [B, , D] = start.shape as [number, number, number];
  const { first, end, last } = range;
  const unknowns = last - first;
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
  if (unknowns === 0) return { x: start, own: undefined, report };
  const bySample = stopping === 'sample';
  // After as many iterations as unknowns everything is exact, unless values are clipped.
  const planned = clamp === undefined ? Math.min(settings.iterations, unknowns) : settings.iterations;
  const bound = largestChange === undefined ? planned : unknowns;
  const perSample = new Array<number>(B).fill(0);
  const active = new Float32Array(B).fill(1);
  let state: Iterate = bySample ? { x: start, next: tf.clone(start) } : { x: start };
  let own: C | undefined;
  report.stop = largestChange !== undefined || bound < settings.iterations ? 'exact' : 'bound';
  while (report.iterations < bound) {
    const together = Math.max(1, Math.min(unroll, planned - report.iterations));
    const step = graphs.iteration({ range, T, clamp, unroll: together, stopping });
    // Squares of the bound on δ·B·D, which is how the graph counts.
    const control = bySample ? tf.tensor1d(active) : tf.scalar(tolerance < 0 ? -1 : (tolerance * B * D) ** 2);
    if (own !== undefined) graphs.release(own);
    const out = step(state, fixed, control);
    ({ state, own } = out);
    const squares = out.squares.dataSync() as Float32Array;
    const done = out.done.dataSync()[0]!;
    disposeTree([control, out.squares, out.done]);
    for (let i = 0; i < done; i++) {
      const rows = squares.subarray(i * B, (i + 1) * B);
      report.deltas.push(Math.sqrt(rows.reduce((sum, value) => sum + value, 0)) / (B * D));
      report.iterations++;
    }
    if (bySample)
      for (let b = 0; b < B; b++) {
        if (active[b] === 0) continue;
        perSample[b]!++;
        if (!(Math.sqrt(squares[b]!) / D > tolerance)) active[b] = 0;
      }
    report.changes = Array.from(squares.subarray((done - 1) * B, done * B), (square) => Math.sqrt(square / (T * D)));
    onIteration?.({ segment: at, iteration: report.iterations, x: 'next' in state ? state.next : state.x, changes: report.changes });
    const delta = report.deltas.at(-1)!;
    const settled = bySample ? active.every((one) => one === 0) : delta <= tolerance;
    if (!Number.isFinite(delta)) report.stop = 'non-finite';
    else if (largestChange !== undefined) {
      if ((!settled && report.iterations < planned) || !report.changes.every((change) => change <= largestChange)) continue;
      report.stop = 'tolerance';
    } else if (settled) report.stop = 'tolerance';
    else continue;
    break;
  }
  if (bySample) report.perSample = perSample;
  let x = state.x;
  if ('next' in state) {
    state.x.dispose();
    x = state.next;
  }
  if (settings.cache === 'fresh' && last < T - 1 && report.stop !== 'non-finite') {
    const again = graphs.iteration({ range, T, clamp: undefined, unroll: 1, stopping: 'batch' });
    const never = tf.scalar(-1);
    const out = again({ x: tf.clone(x) }, fixed, never);
    graphs.release(own!);
    disposeTree([never, out.state, out.squares, out.done]);
    own = out.own;
    report.renewals = 1;
  }
  return { x, own, report };
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
