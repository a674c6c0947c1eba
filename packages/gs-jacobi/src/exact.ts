import { checkNumber, disposeTree, type Tensor, tf, type Tree } from '@atelier/tensor';
import type { CausalProblem } from './causal-map.ts';
import { problemSizes, type CompiledMap } from './compiled-map.ts';
import type { SegmentRange } from './segments.ts';
import type { Cost, Solution } from './solution.ts';

export type ExactOptions = {
  /** Tokens evaluated at a time, at most; 1 is the sequential solution. */
  window: number;
  /** Largest |difference| at which a guess counts as confirmed; 0 takes only equal bits. 1e-6 if not given. */
  tolerance?: number;
  /** Looks on after each evaluation; `x` is lent. */
  onIteration?: (state: { iteration: number; known: number; x: Tensor }) => void;
};

/**
 * Why each token is final. Every one was made in an evaluation whose inputs, the tokens before it, were all final already; either it took
 * the value that came out, or it had been guessed and what came out differs from it by no more than `residual`.
 */
export type Proof = {
  /** The evaluation, counted from 1, that made token t final [T]; 0 for token 0, which is given. */
  evaluation: Int32Array;
  /** 1 where the token had been guessed and was confirmed [T]. */
  confirmed: Uint8Array;
  /** max |X_t - Φ(X)_t| over the values of a token as its evaluation found it [B · T]; 0 where the token took the value that came out. */
  residual: Float32Array;
};

export type ExactReport = Cost & {
  /** Every evaluation: the token it started from, the tokens in it, and how many tokens it made final. */
  evaluations: { known: number; size: number; accepted: number }[];
  proof: Proof;
};

/**
 * Solves X_{i+1} = next(X_0 … X_i) exactly with fewer evaluations than tokens: all tokens of a window are evaluated at once on guesses, and
 * those whose guesses turn out right are final (see `compileWindow`). With `tolerance: 0` the result is a solution to the last bit of this
 * arithmetic, otherwise one with residuals up to the tolerance. The windows move on with the tokens that are final, whose keys and values
 * are kept and never made again, so the work shrinks as guesses get better; with a window of 1 it is sequential sampling.
 *
 * @throws Error if the solution itself is not finite
 */
export function solveExactly<P extends Tree, I extends Tree, C extends Tree>(
  graphs: CompiledMap<P, I, C>,
  problem: CausalProblem<P, I>,
  options: ExactOptions,
): Solution<ExactReport> {
  const { T } = problemSizes(problem, 'solveExactly');
  checkNumber('solveExactly: window', options.window, { integer: true, min: 1 });
  checkNumber('solveExactly: tolerance', options.tolerance ?? 0, { min: 0 });
  const range = { first: 0, end: T, last: T - 1 };
  const { x, past, report } = advance(graphs, problem, { x: tf.clone(problem.guess) }, range, options);
  if (past !== undefined) graphs.release(past);
  return { x, report };
}

/**
 * Solves the tokens after `first` up to `last`. `state.x`, used up, is right up to token `first`; `state.past` is the cache of the tokens
 * before `first`. The cache that comes back is padded in front and ends with token last - 1.
 */
export function advance<P extends Tree, I extends Tree, C extends Tree>(
  graphs: CompiledMap<P, I, C>,
  { params, inputs }: CausalProblem<P, I>,
  state: { x: Tensor; past?: C },
  { first, last }: SegmentRange,
  { window, tolerance = 1e-6, onIteration }: ExactOptions,
): { x: Tensor; past: C | undefined; report: ExactReport } {
  const [B, T] = state.x.shape as [number, number];
  const fixed = { params, inputs };
  const proof: Proof = { evaluation: new Int32Array(T), confirmed: new Uint8Array(T), residual: new Float32Array(B * T) };
  const evaluations: ExactReport['evaluations'] = [];
  // Room for the cache grows in a few steps, so that few graphs are made.
  const quantum = Math.max(window, Math.ceil(T / 8));
  let { x, past }: { x: Tensor; past?: C } = state;
  let room = first;
  let known = first;
  let widest = window;
  while (known < last) {
    const size = windowSize(widest, last - known);
    const nextRoom = Math.max(room, Math.ceil(Math.min(known + size, last) / quantum) * quantum);
    const step = graphs.window({ size, room, nextRoom });
    const scalars = { known: tf.scalar(known, 'int32'), last: tf.scalar(last, 'int32'), tolerance: tf.scalar(tolerance) };
    const out = step(past === undefined ? { x } : { x, past }, fixed, scalars);
    disposeTree(scalars);
    const [accepted, confirmed] = [out.accepted.dataSync()[0]!, out.confirmed.dataSync()[0]!];
    evaluations.push({ known, size, accepted });
    ({ x, past } = out);
    room = nextRoom;
    const errors = out.errors.dataSync();
    for (let i = 0; i < accepted; i++) {
      const token = known + 1 + i;
      proof.evaluation[token] = evaluations.length;
      proof.confirmed[token] = i < confirmed ? 1 : 0;
      if (i < confirmed) for (let b = 0; b < B; b++) proof.residual[b * T + token] = errors[b * size + i]!;
    }
    disposeTree([out.accepted, out.confirmed, out.errors]);
    if (accepted === 0 && size === 1) {
      disposeTree([x, past]);
      throw new Error(`solveExactly: token ${known + 1} of the solution is not finite`);
    }
    // An overflow among the guesses: this token alone, then windows again.
    widest = accepted === 0 ? 1 : window;
    known += accepted;
    onIteration?.({ iteration: evaluations.length, known, x });
  }
  const tokens = evaluations.reduce((sum, { size }) => sum + size, 0);
  return { x, past, report: { depth: evaluations.length, work: tokens / T, evaluations, proof } };
}

/** The window halved as long as it holds what is left. */
function windowSize(window: number, left: number): number {
  let size = window;
  while (size % 2 === 0 && size / 2 >= left) size /= 2;
  return size;
}
