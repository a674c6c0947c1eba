import { emaUpdate, type Optimizer, type Schedule } from '@atelier/nn';
import { tf, treeMap, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';

/** One network in training. `average` is there if the learner keeps one. */
export type LearnerState<P extends Tree, O extends Tree> = { params: P; optimizer: O; average?: P };

/** The numbers of one step, as scalar tensors. They are inputs of the compiled step like the batch, so a new value does not trace it again. */
export type LearnerRates = { learningRate: Tensor; emaDecay?: Tensor };

/** How a network is trained. */
export interface LearnerOptions<O extends Tree> {
  readonly optimizer: Optimizer<O>;
  readonly learningRate: Schedule;
  /** Decay of the moving average of the weights at each step; if absent, there is no average. */
  readonly emaDecay?: Schedule;
}

/** A scalar loss to minimise, and further scalars to show. */
export type Loss = { loss: Tensor; metrics?: Record<string, Tensor> };

/**
 * One network with its optimizer, its learning rate and the average of its weights.
 *
 * To train one network, call `trainNetwork`. A paper that trains several (a generator, a network that imitates its score, a discriminator) makes one
 * learner for each and puts their states together into the state of `trainLoop`. Its step says which network minimises which loss, in which order. A
 * network that is not trained in a step is returned unchanged.
 *
 * ```ts
 * const [generator, score] = [learner({ optimizer: adamW(), learningRate, emaDecay }), learner({ optimizer: adamW(), learningRate })];
 * await trainLoop({
 *   init: () => ({ generator: generator.start(initGenerator()), score: score.start(initScore()) }),
 *   batch: (rng, step) => ({ z: rng.normal(shape), rates: { generator: generator.rates(step), score: score.rates(step) } }),
 *   step(state, { z, rates }) {
 *     const first = score.descend(state.score, (params) => ({ loss: scoreLoss(params, state.generator.params, z) }), rates.score);
 *     const then = generator.descend(state.generator, (params) => ({ loss: distill(params, first.state.params, z) }), rates.generator);
 *     return { state: { generator: then.state, score: first.state }, metrics: { loss: then.loss, 'score loss': first.loss } };
 *   },
 * });
 * ```
 */
export interface Learner<O extends Tree> {
  /** The state before the first step. It owns `params` from then on; the average starts as a copy of them. */
  start<P extends Tree>(params: P): LearnerState<P, O>;
  /** The numbers of step `step`, counted from 0; the caller must dispose them. */
  rates(step: number): LearnerRates;
  /** One step along the gradient of `loss`: a pure function that disposes nothing, for a compiled step. */
  descend<P extends Tree>(
    state: LearnerState<P, O>,
    loss: (params: P) => Loss,
    rates: LearnerRates,
  ): { state: LearnerState<P, O>; loss: Tensor; metrics: Record<string, Tensor> };
}

export function learner<O extends Tree>({ optimizer, learningRate, emaDecay }: LearnerOptions<O>): Learner<O> {
  return {
    start: (params) => ({
      params,
      optimizer: optimizer.init(params),
      ...(emaDecay && { average: treeMap((leaf) => leaf.clone(), params) }),
    }),
    rates: (step) => ({ learningRate: tf.scalar(learningRate(step)), ...(emaDecay && { emaDecay: tf.scalar(emaDecay(step)) }) }),
    descend(state, loss, rates) {
      const found = valueAndGrad((weights: typeof state.params) => {
        const { loss: value, metrics = {} } = loss(weights);
        return { loss: value, aux: metrics };
      }, state.params);
      const { params, state: moments } = optimizer.update(found.grads, state.optimizer, state.params, rates.learningRate);
      return {
        state: {
          params,
          optimizer: moments,
          ...(state.average && rates.emaDecay && { average: emaUpdate(state.average, params, rates.emaDecay) }),
        },
        loss: found.loss,
        metrics: found.aux,
      };
    },
  };
}
