import { quantile, type DrawnSample } from './whole-samples.ts';
import type { Strategy } from './strategy.ts';

/** Share of the batches for which the planned iterations should be enough; the others run more iterations. */
const USUAL = 0.9;

/**
 * Estimates the error of an image from the changes of its blocks in their last iterations.
 *
 * X* solves X = Φ(X). After iteration n the error Eⁿ = Xⁿ - X* is to first order J·Eⁿ⁻¹, and the change Xⁿ - Xⁿ⁻¹ is (J - 1)·Eⁿ⁻¹: both
 * are linear in the same Eⁿ⁻¹, so their ratio depends little on how hard the sample is. An error in the output of one block then passes through all later
 * blocks. The ratio of the image's error to the block's change, its `amplification`, is measured for each block. The squares of the blocks' parts are
 * added. Errors do not really add up in this way, so the estimate is multiplied by the largest measured ratio of a true error to this sum.
 */
export type ErrorEstimate = { amplification: number[]; factor: number };

/** √(Σ (amplification · change)²). */
export function estimatedError(amplification: readonly number[], changes: readonly number[]): number {
  return Math.hypot(...changes.map((change, i) => amplification[i]! * change));
}

/** The largest ratio of a sample's error to the estimate from the changes of its blocks; 0 if nothing was iterated. */
export function largestRatio(samples: readonly DrawnSample[], amplification: readonly number[]): number {
  return samples.reduce((most, { error, changes }) => {
    const estimate = estimatedError(amplification, changes);
    return estimate === 0 ? most : Math.max(most, error / estimate);
  }, 0);
}

/** For each block, a change that nine tenths of the batches do not exceed. The change of a batch is that of its worst sample. */
export function usualChanges(batches: readonly DrawnSample[][]): number[] {
  const blocks = batches[0]![0]!.changes.length;
  return Array.from({ length: blocks }, (_, i) => {
    const worst = batches.map((samples) => Math.max(...samples.map(({ changes }) => changes[i]!)));
    return quantile(worst, USUAL);
  });
}

/** Changes smaller than this share of the allowed error never need another iteration. */
const LEAST_CHANGE = 1e-3;

/** The strategy with a largest change for every block that is iterated. If all blocks reach theirs at once, the estimate equals `allowed`. */
export function withLargestChanges(
  strategy: Strategy,
  { amplification, factor, usual, allowed }: ErrorEstimate & { usual: readonly number[]; allowed: number },
): Strategy {
  const changes = usual.map((change) => Math.max(change, LEAST_CHANGE * allowed));
  const all = factor * estimatedError(amplification, changes);
  const scale = all > 0 ? allowed / all : 1;
  return strategy.map((plan, i) => (plan.method === 'gs-jacobi' ? { ...plan, largestChange: scale * changes[i]! } : plan));
}
