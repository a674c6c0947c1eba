import { quantile, type DrawnSample } from './whole-samples.ts';
import type { Strategy } from './strategy.ts';

/** Share of the batches that shall get by with the iterations of the plan; the others iterate on. */
const USUAL = 0.9;

/**
 * How large the error of an image is, told by what its blocks changed in their last iterations.
 *
 * X* solves X = Φ(X). After iteration n the error Eⁿ = Xⁿ - X* is to first order J·Eⁿ⁻¹, and the change Xⁿ - Xⁿ⁻¹ is (J - 1)·Eⁿ⁻¹: both
 * are linear in the same Eⁿ⁻¹, so their ratio says little of how hard the sample is. An error in one block's output then passes all blocks
 * after it. The ratio of the image's error to the block's change, its `amplification`, is measured block by block; the blocks' parts are
 * added in squares, and the largest ratio of a true error to that sum makes up for what adds up otherwise.
 */
export type ErrorEstimate = { amplification: number[]; factor: number };

/** √(Σ (amplification · change)²). */
export function estimatedError(amplification: readonly number[], changes: readonly number[]): number {
  return Math.hypot(...changes.map((change, i) => amplification[i]! * change));
}

/** The largest error of a sample over what the changes of its blocks say; 0 if nothing was iterated. */
export function largestRatio(samples: readonly DrawnSample[], amplification: readonly number[]): number {
  return samples.reduce((most, { error, changes }) => {
    const estimate = estimatedError(amplification, changes);
    return estimate === 0 ? most : Math.max(most, error / estimate);
  }, 0);
}

/** The largest change of every block that all but a tenth of the batches keep within: for each batch that of its worst sample. */
export function usualChanges(batches: readonly DrawnSample[][]): number[] {
  const blocks = batches[0]![0]!.changes.length;
  return Array.from({ length: blocks }, (_, i) => {
    const worst = batches.map((samples) => Math.max(...samples.map(({ changes }) => changes[i]!)));
    return quantile(worst, USUAL);
  });
}

/** Smaller changes than this share of the error that is allowed are never worth an iteration. */
const LEAST_CHANGE = 1e-3;

/** The strategy with a largest change for every block that is iterated: with all of them reached at once the estimate is `allowed`. */
export function withLargestChanges(
  strategy: Strategy,
  { amplification, factor, usual, allowed }: ErrorEstimate & { usual: readonly number[]; allowed: number },
): Strategy {
  const changes = usual.map((change) => Math.max(change, LEAST_CHANGE * allowed));
  const all = factor * estimatedError(amplification, changes);
  const scale = all > 0 ? allowed / all : 1;
  return strategy.map((plan, i) => (plan.method === 'gs-jacobi' ? { ...plan, largestChange: scale * changes[i]! } : plan));
}
