import { mean } from 'd3-array';
import type { ModelName } from './config.ts';
import type { Model } from './models.ts';

/** Mean squared error of the predicted noise on the fixed images, and the seam ratio of one-step denoising by time. */
export type FieldScores = { mse: number; seams: Record<string, number> };

/** A bound on the error: in expectation, and that of the exact denoiser on the fixed images. */
export type Bound = { expected: number; here: number };

export interface FieldFindings {
  readonly models: readonly Model[];
  /** Scores of each model, one set a repetition. */
  readonly repeats: readonly Readonly<Record<string, FieldScores>>[];
  /** L_g, of a denoiser that sees the whole field, and L_w, of one that sees a window at a time. */
  readonly whole: Bound;
  readonly windows: Bound;
  /** Seam ratios of the exact denoiser by time. */
  readonly exactSeams: Readonly<Record<string, number>>;
}

/** Excess over the least possible error, the mean over the repetitions. */
export function excess(found: FieldFindings, name: ModelName): number {
  return meanOver(found, name, ({ mse }) => mse) - found.whole.here;
}

/** The mean of a score over the repetitions. @throws Error for a model that was not trained */
export function meanOver({ repeats }: FieldFindings, name: ModelName, of: (scores: FieldScores) => number): number {
  return mean(repeats, (scores) => of(scores[name]!))!;
}
