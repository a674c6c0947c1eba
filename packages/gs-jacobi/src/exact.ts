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
  /** Called after each evaluation; it must not dispose `x`. */
  onIteration?: (state: { iteration: number; known: number; x: Tensor }) => void;
};

/**
 * The proof that each token is final. Each token comes from an evaluation in which all tokens before it were already final. It either took the value of the
 * output, or it was a guess that differs from the output by at most `residual`.
 */
export type Proof = {
  /** The evaluation, counted from 1, that made token t final [T]; 0 for token 0, which is given. */
  evaluation: Int32Array;
  /** 1 if the token was a guess that was confirmed [T]. */
  confirmed: Uint8Array;
  /** max |X_t - Φ(X)_t| over the values of a token in its evaluation [B · T]; 0 if the token took the value of the output. */
  residual: Float32Array;
};

export type ExactReport = Cost & {
  /** Every evaluation: its first token, its number of tokens, and how many tokens became final. */
  evaluations: { known: number; size: number; accepted: number }[];
  proof: Proof;
};

/**
 * Solves X_{i+1} = next(X_0 … X_i) exactly with fewer evaluations than tokens: all tokens of a window are evaluated at once on guesses, and
 * those with right guesses become final (see `compileWindow`). With `tolerance: 0` the result solves the equation to the last bit of this arithmetic,
 * otherwise with residuals up to the tolerance. The windows move forward with the final tokens, whose keys and values are kept and not computed again. So
 * better guesses mean less work. With a window of 1 this is sequential sampling.
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
 * Solves the tokens after `first` up to `last`. `state.x`, which is consumed, is right up to token `first`; `state.past` is the cache of the tokens before
 * `first`. The returned cache is padded in front and ends with token last - 1.
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
    // A guess overflowed: evaluate only this token, then continue with windows.
    widest = accepted === 0 ? 1 : window;
    known += accepted;
    onIteration?.({ iteration: evaluations.length, known, x });
  }
  const tokens = evaluations.reduce((sum, { size }) => sum + size, 0);
  return { x, past, report: { depth: evaluations.length, work: tokens / T, evaluations, proof } };
}

/** The window, halved as long as the remaining tokens still fit into it. */
function windowSize(window: number, left: number): number {
  let size = window;
  while (size % 2 === 0 && size / 2 >= left) size /= 2;
  return size;
}
