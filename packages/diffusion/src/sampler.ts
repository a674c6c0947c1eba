import type { Tensor } from '@atelier/tensor';

/**
 * The common type of all samplers. A sampler is made once, from the settings of a model or from a network as a function, and then draws samples any
 * number of times.
 *
 * `model` is the tree that the network reads (its weights, and labels if they belong to it). `noise` is the start of sampling. The caller still owns
 * both. They are arguments of the graphs that a sampler compiles, so other weights and other noise do not need a new graph. `options` depend on the
 * method: a grid of times, tables, a strategy, guidance.
 */
export type Sampler<Model, Options, Step, Result = Tensor> = {
  /** The samples, or a record of the samples and further results of the method. The caller owns every tensor in it. */
  sample(model: Model, noise: Tensor, options: Options): Result;
  /** The same, one step at a time. The caller owns the tensors of each step, and may stop after any step. */
  steps(model: Model, noise: Tensor, options: Options): Generator<Step, void, void>;
  /** Number of graphs made so far. */
  readonly graphs: number;
  /** Frees the graphs. */
  dispose(): void;
};

/** The images of the last of at least one step. Those of the others are disposed. */
export function lastOf(steps: Iterable<{ x: Tensor }>): Tensor {
  let last: Tensor | undefined;
  for (const { x } of steps) {
    last?.dispose();
    last = x;
  }
  return last!;
}
