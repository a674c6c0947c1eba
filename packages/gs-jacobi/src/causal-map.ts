import type { Tensor, Tree } from '@atelier/tensor';

/** s consecutive tokens of an autoregressive map, and the cache of the tokens before them. */
export type Segment<P extends Tree, I extends Tree, C extends Tree> = {
  params: P;
  /** Tokens [B, s, D]. */
  x: Tensor;
  /** The other inputs of these tokens: leaves [1 or B, s, …]. */
  inputs: I;
  /** The cache of the c tokens before; absent at the start of the sequence. */
  past?: C;
  /** How many of those c tokens count, the last ones: int32 scalar; all of them if absent. */
  seen?: Tensor;
};

/**
 * An autoregressive map in the form that all solvers here take: token i + 1 is computed from the tokens 0 … i.
 *
 * For an affine flow it is Φ(X)_{i+1} = exp(α°_i)⊙Z_{i+1} + μ°_i, with Z shifted by one among the `inputs`; any other causal map can be used too.
 */
export type CausalMap<P extends Tree, I extends Tree, C extends Tree> = {
  /**
   * Entry i of `next` [B, s, D] is the token after token i of the segment, and depends on that token and all before it, never on a later
   * one. `own` is the cache of these s tokens for later segments. It must be a pure function that reads no value, because it is compiled.
   */
  next: (segment: Segment<P, I, C>) => { next: Tensor; own: C };
  /** The axis of the leaves of `own` and `past` along which tokens lie. */
  pastAxis: number;
};

/** What is to be solved: X with X_{i+1} = next(X_0 … X_i). */
export type CausalProblem<P extends Tree, I extends Tree> = {
  params: P;
  /** Leaves [1 or B, T, …]; entry i belongs to the step from token i to token i + 1, so the last one is never used. */
  inputs: I;
  /** Where the iteration starts [B, T, D]. Its token 0 is the solution's own. */
  guess: Tensor;
};
