import { checkGrid, checkNoiseAndLabels, gridSampler, gridSteps, type FlowStep, type GridOptions, type Sampler } from '@atelier/diffusion';
import { checkLike, checkOptions, tf, type Tensor, type Tree } from '@atelier/tensor';
import type { AverageVelocity } from './objective.ts';

/**
 * One MeanFlow jump from time `from` to time `to`: z - (from - to)·N(z; from, from - to) (arXiv 2505.13447). With `from = to` it returns z.
 *
 * @param z points at time `from` [B, …]
 * @param y labels [B], if the network takes them
 */
export function flowStep(network: AverageVelocity, z: Tensor, from: number, to: number, y?: Tensor): Tensor {
  return tf.tidy(() => {
    const t = tf.fill([z.shape[0]!], from);
    const h = tf.fill([z.shape[0]!], from - to);
    const u = network(z, t, h, y);
    checkLike(u, z, 'flowStep: output of the network');
    return tf.sub(z, tf.mul(u, from - to));
  });
}

/**
 * MeanFlow samples from noise e [B, …], made by jumps along a grid of times. Each jump is one network evaluation; there is no guidance here.
 *
 * The number of steps follows from the grid. (In the official JAX code, `num_steps = 2` without explicit times keeps the grid [1, 0], and the
 * second step does nothing.) For two steps give `grid: uniformGrid(2)` or any [1, τ, 0].
 * @param options.grid strictly decreasing times in [0, 1], [1, 0] if absent (one step)
 * @param options.y labels [B]
 * @throws Error if the grid does not strictly decrease or leaves [0, 1], or for an unknown option
 */
export function sampleMeanFlow(network: AverageVelocity, e: Tensor, options: { grid?: readonly number[]; y?: Tensor } = {}): Tensor {
  checkOptions('sampleMeanFlow', options, ['grid', 'y']);
  const grid = checkGrid(options.grid ?? [1, 0], 'sampleMeanFlow');
  checkNoiseAndLabels(e, options.y, 'sampleMeanFlow');
  return tf.tidy(() => gridSteps(grid).reduce((z, [from, to]) => flowStep(network, z, from, to, options.y), e));
}

/** MeanFlow as a sampler: `sampleMeanFlow` of the network that `networkOf` makes of a model; one evaluation per step of the grid. */
export function meanFlowSampler<Model extends Tree>(networkOf: (model: Model) => AverageVelocity): Sampler<Model, GridOptions, FlowStep> {
  return gridSampler((model, z, options) => sampleMeanFlow(networkOf(model), z, options), 'jumps');
}
