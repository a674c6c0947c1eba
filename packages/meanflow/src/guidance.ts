import { conditionalVelocity, interpolate } from '@atelier/diffusion';
import { checkLike, checkPair, dims, parseConfig, perSample, stopGradient, type Tensor, tf } from '@atelier/tensor';
import { classDropConfig, guidanceConfig, type ClassDropConfig, type GuidanceOptions } from './config.ts';
import {
  instantaneousVelocity,
  meanFlowLossAt,
  type AverageVelocity,
  type MeanFlowBatch,
  type MeanFlowLoss,
  type MeanFlowOptions,
} from './objective.ts';

/** Effective guidance scale ω' = ω/(1 - κ) (arXiv 2505.13447); ω = 1 with κ = 0.5 is a scale of 2, not "no guidance". */
export function effectiveScale(options: { omega: number; kappa: number }): number {
  const { omega, kappa } = parseConfig(guidanceConfig, options, 'effectiveScale');
  return omega / (1 - kappa);
}

/**
 * The guided velocity ṽ = ω·v + κ·N(z; t, 0; y) + (1 - ω - κ)·N(z; t, 0; ∅) (arXiv 2505.13447; Gsunshine/meanflow meanflow.py:176), without gradient.
 *
 * Rows whose t lies outside the interval get ṽ = v. With κ = 0 the network is evaluated once, with ω = 1 and κ = 0 not at all.
 * @param at z and velocity v = e - x [B, …], t [B], labels y [B]
 * @param options.nullLabel the label ∅ (the number of classes, by convention)
 * @returns velocity ṽ [B, …], and those predictions of the network that were computed for it
 */
export function guidedVelocity(
  network: AverageVelocity,
  at: { z: Tensor; t: Tensor; y: Tensor; velocity: Tensor },
  options: GuidanceOptions & { nullLabel: number },
): { velocity: Tensor; unconditional?: Tensor; conditional?: Tensor } {
  const where = 'guidedVelocity';
  const { nullLabel, ...rest } = options;
  const { omega, kappa, interval } = parseConfig(guidanceConfig, rest, where);
  checkPair(at.z, at.velocity, where, ['z', 'velocity']);
  const B = at.z.shape[0]!;
  dims(at.t, 'B', `${where}: t`, { B });
  dims(at.y, 'B', `${where}: y`, { B });
  checkNullLabel(nullLabel, where);
  if (omega === 1 && kappa === 0) return { velocity: tf.clone(at.velocity) };
  return tf.tidy(() => {
    const velocityAt = instantaneousVelocity(network);
    const predict = (y: Tensor): Tensor => {
      const v = velocityAt(at.z, at.t, y);
      checkLike(v, at.z, `${where}: output of the network`);
      return stopGradient(v);
    };
    const inside = perSample(tf.logicalAnd(tf.greaterEqual(at.t, interval[0]), tf.lessEqual(at.t, interval[1])), at.z); // [B] -> [B, 1, …]
    const within = tf.cast(inside, 'float32');
    const scale = tf.add(tf.mul(within, omega - 1), 1); // ω inside, 1 outside
    const unconditional = predict(tf.fill([B], nullLabel, at.y.dtype as 'int32'));
    const guided = tf.add(tf.mul(scale, at.velocity), tf.mul(tf.mul(within, 1 - omega - kappa), unconditional));
    if (kappa === 0) return { velocity: stopGradient(guided), unconditional };
    const conditional = predict(at.y);
    return { velocity: stopGradient(tf.add(guided, tf.mul(tf.mul(within, kappa), conditional))), unconditional, conditional };
  });
}

/**
 * Class dropout: chosen rows get the null label and the unguided velocity e - x.
 *
 * Rule `prefix` (the official JAX code): k = #{i: uniform_i < probability} and the **first k rows** are dropped. With the prefix time sampler
 * the null label is therefore trained only with r = t. Rule `row`: row i is dropped if uniform_i < probability; ∅ is then also trained with r < t.
 * @param batch labels y [B], guided velocity and conditional velocity e - x, both [B, …], uniforms in [0, 1) [B]
 */
export function dropClasses(
  batch: { y: Tensor; guided: Tensor; conditionalVelocity: Tensor; uniform: Tensor },
  options: ClassDropConfig & { nullLabel: number },
): { y: Tensor; velocity: Tensor; dropped: Tensor } {
  const where = 'dropClasses';
  const { nullLabel, ...rest } = options;
  const { probability, rule } = parseConfig(classDropConfig, rest, where);
  checkPair(batch.guided, batch.conditionalVelocity, where, ['guided', 'conditionalVelocity']);
  const B = batch.guided.shape[0]!;
  dims(batch.y, 'B', `${where}: y`, { B });
  dims(batch.uniform, 'B', `${where}: uniform`, { B });
  checkNullLabel(nullLabel, where);
  return tf.tidy(() => {
    const below = tf.less(batch.uniform, probability);
    const dropped = rule === 'row' ? below : tf.less(tf.range(0, B, 1, 'int32'), tf.sum(tf.cast(below, 'int32')));
    return {
      y: tf.where(dropped, tf.fill([B], nullLabel, batch.y.dtype as 'int32'), batch.y),
      velocity: tf.where(perSample(dropped, batch.guided), batch.conditionalVelocity, batch.guided),
      dropped,
    };
  });
}

/** The whole class-conditional objective: guidance, then class dropout, then the MeanFlow loss with ṽ as target **and** as velocity of the JVP. */
export type GuidedOptions = MeanFlowOptions & { guidance: GuidanceOptions; classDrop: ClassDropConfig; nullLabel: number };

/**
 * The class-conditional training loss (arXiv 2505.13447; Gsunshine/meanflow meanflow.py). It evaluates the network more often than `meanFlowLoss`:
 * once more for κ = 0, otherwise twice, each time without gradient.
 *
 * @param batch as for `meanFlowLoss`, with labels y [B] and `dropUniform` [B], uniforms in [0, 1) for the class dropout
 * @returns the loss, and the labels `y` after the class dropout
 */
export function guidedMeanFlowLoss(
  network: AverageVelocity,
  batch: Omit<MeanFlowBatch, 'velocity' | 'tangent' | 'y'> & { y: Tensor; dropUniform: Tensor },
  options: GuidedOptions,
): MeanFlowLoss & { y: Tensor } {
  const { guidance, classDrop, nullLabel, ...rest } = options;
  return tf.tidy(() => {
    const { x, e, t, r, dropUniform } = batch;
    const [z, straight] = [interpolate(x, e, t), conditionalVelocity(x, e)];
    const guided = guidedVelocity(network, { z, t, y: batch.y, velocity: straight }, { ...guidance, nullLabel }).velocity;
    const { y, velocity } = dropClasses(
      { y: batch.y, guided, conditionalVelocity: straight, uniform: dropUniform },
      { ...classDrop, nullLabel },
    );
    return { ...meanFlowLossAt(network, { z, velocity, t, r, y }, rest), y };
  });
}

function checkNullLabel(nullLabel: number, where: string): void {
  if (!Number.isInteger(nullLabel) || nullLabel < 0)
    throw new Error(`${where}: nullLabel: wanted a whole number of at least 0, got ${nullLabel}`);
}
