import type { Tensor } from '@atelier/tensor';

/**
 * What every sampler is, whatever its method: made once of the settings of a model, or of a network as a function, it draws samples as often as asked.
 *
 * `model` is the tree that the network reads (weights, and labels where they belong to it) and `noise` what sampling starts from; both stay the
 * caller's. They are arguments of the graphs that a sampler compiles, so other weights and other noise make no new graph. `options` say how: a
 * grid of times, tables, a strategy, guidance.
 */
export type Sampler<Model, Options, Step, Result = Tensor> = {
  /** Samples, or a record that holds them and what the method has to tell besides. The caller owns every tensor of it. */
  sample(model: Model, noise: Tensor, options: Options): Result;
  /** The same one step at a time. The caller owns what each step gives, and may stop at any of them. */
  steps(model: Model, noise: Tensor, options: Options): Generator<Step, void, void>;
  /** Graphs made so far. */
  readonly graphs: number;
  /** Frees them. */
  dispose(): void;
};
