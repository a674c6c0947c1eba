import { checkLike, checkPair, dims, type Tensor, tf } from '@atelier/tensor';
import type { WeightConfig } from './config.ts';
import { weightedError, type AverageVelocity, type LossParts } from './objective.ts';
import { conditionalVelocity, interpolate } from './path.ts';

/** Makes a network of the instantaneous velocity v(z, t) an `AverageVelocity` that ignores h, so that losses and samplers take it too. */
export function fromVelocity(network: (z: Tensor, t: Tensor, y?: Tensor) => Tensor): AverageVelocity {
  return (z, t, _h, y) => network(z, t, y);
}

/**
 * Flow matching, the baseline: N_θ(z; t, 0) regressed on v = e - x along z = (1 - t)·x + t·e (t = 0 data, t = 1 noise), with the same adaptive
 * weight as MeanFlow. Equal to `meanFlowLoss` on a batch whose rows all have r = t.
 *
 * @param batch x and e [B, …], t [B], y [B] labels, `velocity` [B, …] in place of e - x
 * @throws Error if shapes do not agree or the network returns another shape than z
 */
export function flowMatchingLoss(
  network: AverageVelocity,
  batch: { x: Tensor; e: Tensor; t: Tensor; y?: Tensor; velocity?: Tensor },
  options: WeightConfig,
): LossParts {
  const where = 'flowMatchingLoss';
  checkPair(batch.x, batch.e, where, ['x', 'e']);
  const B = batch.x.shape[0]!;
  dims(batch.t, 'B', `${where}: t`, { B });
  if (batch.y !== undefined) dims(batch.y, 'B', `${where}: y`, { B });
  if (batch.velocity !== undefined) checkLike(batch.velocity, batch.x, `${where}: velocity`);
  return tf.tidy(() => {
    const z = interpolate(batch.x, batch.e, batch.t);
    const velocity = batch.velocity ?? conditionalVelocity(batch.x, batch.e);
    const u = network(z, batch.t, tf.zerosLike(batch.t), batch.y);
    checkLike(u, z, `${where}: output of the network`);
    return { ...weightedError(u, velocity, options), z, velocity, u, target: velocity };
  });
}
