import { compile, tf, treeMap, type Compiled, type Tensor, type Tree } from '@atelier/tensor';
import type { CausalMap } from './causal-map.ts';
import type { SegmentRange } from './segments.ts';
import { tokens, tokensOf } from './token-axis.ts';

/** The inputs of an evaluation that it does not change. */
export type Fixed<P extends Tree, I extends Tree, C extends Tree> = { params: P; inputs: I } | { params: P; inputs: I; past: C };

/** The batch before an iteration. With per-sample stopping also the result of the last evaluation. */
export type Iterate = { x: Tensor } | { x: Tensor; next: Tensor };

export type IterationResult<C extends Tree> = {
  state: Iterate;
  /** The cache of this segment that later segments need, from its last evaluation. */
  own: C;
  /** Σ (X' - X)² of each sample in each iteration [r, B]. */
  squares: Tensor;
  /** How many of the r iterations were run before the tolerance stopped them: scalar. */
  done: Tensor;
};

export type IterationOptions = {
  range: SegmentRange;
  /** Total number of tokens. */
  T: number;
  /** Bound c on |X|. */
  clamp?: number | undefined;
  /** Iterations in one graph, r. */
  unroll: number;
  /** 'batch' replaces every sample in every iteration; 'sample' keeps those that are not active. */
  stopping: 'batch' | 'sample';
};

export type IterationStep<P extends Tree, I extends Tree, C extends Tree> = Compiled<
  [state: Iterate, fixed: Fixed<P, I, C>, control: Tensor],
  IterationResult<C>
>;

/**
 * One graph for r iterations X ← clip(Φ(X)) of a segment (encoreus/GS-Jacobi_for_TarFlow GS_Jacobi_sampling.py:340-460): the unknowns
 * first + 1 … last are made from the tokens first … last - 1 all at once.
 *
 * With per-batch stopping, `control` is a threshold: the graph stops as soon as Σ (X' - X)² over the whole batch is at most this number (with a negative
 * number it never stops). With per-sample stopping it is [B], 1 for each sample that continues and 0 for each that has stopped. A stopped sample gets the
 * same input again, so its value and its part of the cache stay those of its last evaluation.
 */
export function compileIteration<P extends Tree, I extends Tree, C extends Tree>(
  map: CausalMap<P, I, C>,
  options: IterationOptions,
): IterationStep<P, I, C> {
  const { range, unroll, stopping } = options;
  const name = `tokens ${range.first} … ${range.last}`;
  const evaluate = (x: Tensor, fixed: Fixed<P, I, C>) => evaluateSegment(map, x, fixed, options);
  if (stopping === 'sample')
    return compile(
      (state, fixed, active) => {
        const { x, next: last } = state as { x: Tensor; next: Tensor };
        const input = tf.where(tf.greater(tf.reshape(active, [-1, 1, 1]), 0), last, x);
        const { next, own, squares } = evaluate(input, fixed);
        return { state: { x: input, next }, own, squares: tf.expandDims(squares, 0), done: tf.scalar(1) };
      },
      { donate: [0], name, idle: 'sleep' },
    );
  return compile(
    ({ x }, fixed, threshold) => {
      const { squares, ...made } = evaluate(x, fixed);
      let { next, own } = made;
      const all = [squares];
      let done: Tensor = tf.scalar(1);
      // 1 as long as no iteration has reached the threshold.
      let running: Tensor = tf.scalar(1);
      for (let i = 1; i < unroll; i++) {
        const later = evaluate(next, fixed);
        running = tf.mul(running, tf.cast(tf.greater(tf.sum(all.at(-1)!), threshold), 'float32'));
        const choose = (a: Tensor, b: Tensor): Tensor => tf.where(tf.greater(running, 0), a, b);
        next = choose(later.next, next);
        own = treeMap((a, _, b) => choose(a, b!), later.own, own);
        all.push(later.squares);
        done = tf.add(done, running);
      }
      return { state: { x: next }, own, squares: tf.stack(all), done };
    },
    { donate: [0], name, idle: 'sleep' },
  );
}

/** One evaluation of a segment in the whole batch x [B, T, D]: x with its unknowns replaced, and Σ (X' - X)² of each sample [B]. */
function evaluateSegment<P extends Tree, I extends Tree, C extends Tree>(
  map: CausalMap<P, I, C>,
  x: Tensor,
  fixed: Fixed<P, I, C>,
  { range: { first, last }, T, clamp }: IterationOptions,
): { next: Tensor; own: C; squares: Tensor } {
  const count = last - first;
  const { params, inputs } = fixed;
  const segment = { params, x: tokens(x, first, count), inputs: tokensOf(inputs, first, count) };
  const { next, own } = map.next('past' in fixed ? { ...segment, past: fixed.past } : segment);
  const clip = (value: Tensor): Tensor => (clamp === undefined ? value : tf.clipByValue(value, -clamp, clamp));
  const before = tokens(x, 0, first + 1);
  // With a single segment this is the official Jacobi mode, which also clips token 0. With more segments token 0 is not clipped.
  const kept = first === 0 && last === T - 1 ? clip(before) : before;
  const made = clip(next);
  const change = tf.sum(tf.square(tf.sub(made, tokens(x, first + 1, count))), [1, 2]);
  const squares = kept === before ? change : tf.add(change, tf.sum(tf.square(tf.sub(kept, before)), [1, 2]));
  const parts = [kept, made, ...(last === T - 1 ? [] : [tokens(x, last + 1, T - 1 - last)])];
  return { next: tf.concat(parts, 1), own, squares };
}
