import { conditionalVelocity, interpolate, weightedError } from '@atelier/diffusion';
import { checkOptions, checkPair, dims, perSample, stopGradient, type Tensor, tf } from '@atelier/tensor';
import type { ClassDropConfig } from '../config.ts';
import { dropClasses } from '../guidance.ts';
import {
  averageVelocityAndDerivative,
  instantaneousVelocity,
  totalDerivative,
  type AverageVelocity,
  type MeanFlowBatch,
  type MeanFlowLoss,
  type MeanFlowOptions,
} from '../objective.ts';
import { imfGuidedVelocity } from './guidance.ts';
import type { ImfCondition, TwoHeadedVelocity } from './heads.ts';

/**
 * The objective of improved MeanFlow for a network with one head: V = u + (t - r)·stopgrad(D) is regressed on the velocity. D is the JVP along
 * the network's own velocity N(z; t, 0), so the prediction V does not depend on the sampled e - x (arXiv 2512.02012).
 *
 * With `tangent` (the velocity of the JVP) set to e - x, the gradient equals that of `meanFlowLoss`.
 * @param batch and options as for `meanFlowLoss`
 */
export function improvedMeanFlowLoss(network: AverageVelocity, batch: MeanFlowBatch, options: MeanFlowOptions): MeanFlowLoss {
  checkOptions('improvedMeanFlowLoss', options, ['p', 'c', 'movingRows', 'direction']);
  checkPair(batch.x, batch.e, 'improvedMeanFlowLoss', ['x', 'e']);
  return tf.tidy(() => {
    const { t, r, y } = batch;
    const z = interpolate(batch.x, batch.e, t);
    const velocity = stopGradient(batch.velocity ?? conditionalVelocity(batch.x, batch.e));
    const tangent = batch.tangent ?? stopGradient(instantaneousVelocity(network)(z, t, y));
    const { u, dudt } = averageVelocityAndDerivative(network, { z, t, r, ...(y && { y }), tangent }, options);
    const compound = tf.add(u, tf.mul(perSample(tf.sub(t, r), z), dudt));
    return { ...weightedError(compound, velocity, options), z, velocity, u, dudt, target: velocity };
  });
}

export type ImfOptions = MeanFlowOptions & { classDrop: ClassDropConfig; nullLabel: number };
/** One batch: as for `meanFlowLoss`, and also the drawn condition and the uniforms of the class dropout [B]. */
export type ImfBatch = { x: Tensor; e: Tensor; t: Tensor; r: Tensor; condition: ImfCondition; dropUniform: Tensor };
export type ImfLoss = {
  /** Mean over the batch of the two weighted errors. Scalar. */
  loss: Tensor;
  /** Summed squared errors of V and of the v-head against the guided velocity, [B]. */
  squaredError: Tensor;
  headSquaredError: Tensor;
  z: Tensor;
  /** Guided velocity v_g, e - x where the label was dropped. */
  velocity: Tensor;
  tangent: Tensor;
  u: Tensor;
  dudt: Tensor;
  /** V = u + (t - r)·stopgrad(D). */
  compound: Tensor;
  /** Output of the v-head. */
  head: Tensor;
  /** Labels after the class dropout. */
  y: Tensor;
};

/**
 * The whole loss of improved MeanFlow (arXiv 2512.02012): guidance from the v-head at a drawn scale and interval, class dropout, then
 * w(S_u)·S_u + w(S_v)·S_v with S_u = ‖V - v_g‖², S_v = ‖v_head - v_g‖². D is the JVP along the v-head's prediction.
 *
 * Rows whose label is dropped keep their ω, and their JVP runs along the velocity of the original label, as in the official code.
 * @throws Error if shapes do not agree or a setting is out of range
 */
export function imfLoss(network: TwoHeadedVelocity, batch: ImfBatch, options: ImfOptions): ImfLoss {
  const where = 'imfLoss';
  checkOptions(where, options, ['p', 'c', 'movingRows', 'direction', 'classDrop', 'nullLabel']);
  checkPair(batch.x, batch.e, where, ['x', 'e']);
  const B = batch.x.shape[0]!;
  const { t, r, condition, dropUniform } = batch;
  for (const [name, value] of Object.entries({ t, r, dropUniform, ...condition })) dims(value, 'B', `${where}: ${name}`, { B });
  return tf.tidy(() => {
    const z = interpolate(batch.x, batch.e, t);
    const straight = conditionalVelocity(batch.x, batch.e);
    const { velocity: guided, tangent } = imfGuidedVelocity(network, { z, t, r, velocity: straight, condition }, options.nullLabel);
    const { y, velocity } = dropClasses(
      { y: condition.y, guided, conditionalVelocity: straight, uniform: dropUniform },
      { ...options.classDrop, nullLabel: options.nullLabel },
    );
    const kept = { ...condition, y };
    const h = tf.sub(t, r);
    const [u, head] = [network.u(z, t, h, kept), network.v(z, t, h, kept)];
    const dudt = totalDerivative((zi, ti, hi, from, to) => network.u(zi, ti, hi, cut(kept, from, to)), { z, t, r, tangent }, options);
    const compound = tf.add(u, tf.mul(perSample(h, z), dudt));
    const ofCompound = weightedError(compound, velocity, options);
    const ofHead = weightedError(head, velocity, options);
    return {
      loss: tf.add(ofCompound.loss, ofHead.loss),
      squaredError: ofCompound.squaredError,
      headSquaredError: ofHead.squaredError,
      ...{ z, velocity, tangent, u, dudt, compound, head, y },
    };
  });
}

/** Rows [from, to) of a condition. */
function cut({ omega, tMin, tMax, y }: ImfCondition, from: number, to: number): ImfCondition {
  const rows = (a: Tensor): Tensor => (from === 0 && to === a.shape[0] ? a : tf.slice(a, [from], [to - from]));
  return { omega: rows(omega), tMin: rows(tMin), tMax: rows(tMax), y: rows(y) };
}
