import { checkLike, checkOptions, checkPair, dims, type Tensor, tf } from '@atelier/tensor';
import { conditionalVelocity, interpolate } from './path.ts';
import { weightedError, type LossParts, type WeightConfig } from './weighted-error.ts';

/**
 * The network v_θ(z, t; y): velocity of the flow through the point z at time t. z [B, …], t [B] in [0, 1] (data at 0, noise at 1), y [B] labels or
 * absent; returns [B, …]. Any TensorFlow.js function can be used.
 */
export type Velocity = (z: Tensor, t: Tensor, y?: Tensor) => Tensor;

/**
 * Flow matching: v_θ(z, t) is regressed on v = e - x along z = (1 - t)·x + t·e (t = 0 data, t = 1 noise). Each sample has an adaptive weight
 * (with p = 0 all weights are 1).
 *
 * @param batch x and e [B, …], t [B], y [B] labels, `velocity` [B, …] in place of e - x
 * @throws Error if shapes do not agree or the network returns another shape than z
 */
export function flowMatchingLoss(
  network: Velocity,
  batch: { x: Tensor; e: Tensor; t: Tensor; y?: Tensor; velocity?: Tensor },
  options: WeightConfig,
): LossParts {
  const where = 'flowMatchingLoss';
  checkOptions(where, options, ['p', 'c']);
  checkPair(batch.x, batch.e, where, ['x', 'e']);
  const B = batch.x.shape[0]!;
  dims(batch.t, 'B', `${where}: t`, { B });
  if (batch.y !== undefined) dims(batch.y, 'B', `${where}: y`, { B });
  if (batch.velocity !== undefined) checkLike(batch.velocity, batch.x, `${where}: velocity`);
  return tf.tidy(() => {
    const z = interpolate(batch.x, batch.e, batch.t);
    const velocity = batch.velocity ?? conditionalVelocity(batch.x, batch.e);
    const u = network(z, batch.t, batch.y);
    checkLike(u, z, `${where}: output of the network`);
    return { ...weightedError(u, velocity, options), z, velocity, u, target: velocity };
  });
}
