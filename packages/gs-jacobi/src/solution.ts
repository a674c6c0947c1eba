import type { Tensor } from '@atelier/tensor';

/**
 * Why the iteration of a segment ended: the change reached the tolerance (or that of every sample reached `largestChange`); the largest number of iterations
 * was reached; as many iterations were run as the segment has unknowns (then it is exact); a value was not finite; or, after such a value, the segment was
 * solved again token by token.
 */
export type Stop = 'tolerance' | 'bound' | 'exact' | 'non-finite' | 'sequential';

export type SegmentReport = {
  /** Index of the first token of the segment, and the number of its tokens. */
  first: number;
  size: number;
  /** Number of iterations that were run. Each evaluates all tokens of the segment. */
  iterations: number;
  /** Further evaluations of the segment, which compute its cache again from the final values. */
  renewals: number;
  /** Further evaluations of one token each, after an overflow. */
  single: number;
  /** Change δ of the whole batch in each iteration. */
  deltas: number[];
  /** Change of each sample in the last iteration, √(Σ (X' - X)² / (T·D)): the root mean square over all tokens of the sequence [B]; 0 where
   * the segment was solved token by token. */
  changes: number[];
  /** Iterations until each sample stopped; only with per-sample stopping. */
  perSample?: number[];
  stop: Stop;
};

/** The cost of a solution. */
export type Cost = {
  /** Number of evaluations that run one after the other. */
  depth: number;
  /** Sum over evaluations of their tokens / T: an evaluation of all tokens counts 1. */
  work: number;
};

export type SolveReport = Cost & { segments: SegmentReport[] };

/** X [B, T, D], which belongs to the caller, and how it was found. */
export type Solution<R = SolveReport> = { x: Tensor; report: R };

/** The sum of several costs. */
export function totalCost(costs: readonly Cost[]): Cost {
  return costs.reduce<Cost>((sum, { depth, work }) => ({ depth: sum.depth + depth, work: sum.work + work }), { depth: 0, work: 0 });
}
