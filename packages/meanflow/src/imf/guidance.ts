import { checkNumber, checkPair, dims, perSample, stopGradient, type Tensor, tf } from '@atelier/tensor';
import type { AverageVelocity } from '../objective.ts';
import type { ImfCondition, TwoHeadedVelocity } from './heads.ts';

/**
 * Guidance scales ω in [1, max] with density ∝ ω^-β from uniforms q [B]: max^q for β = 1, else [1 + q·(max^(1-β) - 1)]^(1/(1-β)).
 *
 * @param options.beta β, 1 in the official settings
 * @param options.max largest scale, 8 in the official settings
 */
export function guidanceScale(uniform: Tensor, options: { beta?: number; max?: number } = {}): Tensor {
  dims(uniform, 'B', 'guidanceScale: uniform');
  const { beta = 1, max = 8 } = options;
  checkNumber('guidanceScale: beta', beta);
  checkNumber('guidanceScale: max', max, { min: 1 });
  return tf.tidy(() => {
    if (beta === 1) return tf.exp(tf.mul(uniform, Math.log(max)));
    const grown = tf.mul(uniform, Math.expm1((1 - beta) * Math.log(max)));
    return tf.exp(tf.div(tf.log1p(grown), 1 - beta));
  });
}

/** Ends of a guidance interval from uniforms q [B] each: t_min = q/2 in [0, ½), t_max = (1 + q)/2 in [½, 1). */
export function intervalEnds(uniforms: { tMin: Tensor; tMax: Tensor }): { tMin: Tensor; tMax: Tensor } {
  const { B } = dims<'B'>(uniforms.tMin, 'B', 'intervalEnds: tMin');
  dims(uniforms.tMax, 'B', 'intervalEnds: tMax', { B });
  return tf.tidy(() => ({ tMin: tf.mul(uniforms.tMin, 0.5), tMax: tf.add(tf.mul(uniforms.tMax, 0.5), 0.5) }));
}

/** The guidance interval of every row [B]: the given ends where r < t, the whole of [0, 1] where r = t. */
export function guidanceInterval(ends: { tMin: Tensor; tMax: Tensor }, times: { t: Tensor; r: Tensor }): { tMin: Tensor; tMax: Tensor } {
  const { B } = dims<'B'>(ends.tMin, 'B', 'guidanceInterval: tMin');
  for (const [name, value] of Object.entries({ tMax: ends.tMax, ...times })) dims(value, 'B', `guidanceInterval: ${name}`, { B });
  return tf.tidy(() => {
    const isMoving = tf.less(times.r, times.t);
    return {
      tMin: tf.where(isMoving, ends.tMin, tf.zerosLike(ends.tMin)),
      tMax: tf.where(isMoving, ends.tMax, tf.onesLike(ends.tMax)),
    };
  });
}

/**
 * The guided velocity v_g = v_t + (1 - 1/ω)·(v_c - v_u) of improved MeanFlow, and the velocity v_c along which its JVP is taken (`tangent`).
 * Both come from the v-head and carry no gradient.
 *
 * Outside the interval of a row, ω is 1 for that row. Rows with r = t use the ω that was drawn. The JVP runs along v_c at the ω after this rule.
 * The v-head is evaluated three times, always at h = 0 with the interval [0, 1].
 */
export function imfGuidedVelocity(
  network: TwoHeadedVelocity,
  at: { z: Tensor; t: Tensor; r: Tensor; velocity: Tensor; condition: ImfCondition },
  nullLabel: number,
): { velocity: Tensor; tangent: Tensor } {
  const where = 'imfGuidedVelocity';
  checkPair(at.z, at.velocity, where, ['z', 'velocity']);
  const B = at.z.shape[0]!;
  for (const [name, value] of Object.entries({ t: at.t, r: at.r, ...at.condition })) dims(value, 'B', `${where}: ${name}`, { B });
  checkNumber(`${where}: nullLabel`, nullLabel, { integer: true, min: 0 });
  return tf.tidy(() => {
    const { omega, tMin, tMax, y } = at.condition;
    const [h, one] = [tf.zerosLike(at.t), tf.onesLike(at.t)];
    const predict = (scale: Tensor, label: Tensor): Tensor =>
      stopGradient(network.v(at.z, at.t, h, { omega: scale, tMin: h, tMax: one, y: label }));
    const unconditional = predict(one, tf.fill([B], nullLabel, 'int32'));
    const guided = (scale: Tensor, conditional: Tensor): Tensor =>
      tf.add(at.velocity, tf.mul(perSample(tf.sub(1, tf.reciprocal(scale)), at.z), tf.sub(conditional, unconditional)));
    const inside = tf.logicalAnd(tf.greaterEqual(at.t, tMin), tf.lessEqual(at.t, tMax));
    const gated = tf.where(inside, omega, one);
    const tangent = predict(gated, y);
    const isMoving = perSample(tf.less(at.r, at.t), at.z);
    const velocity = tf.where(isMoving, guided(gated, tangent), guided(omega, predict(omega, y)));
    return { velocity: stopGradient(velocity), tangent };
  });
}

/** The u-head with the same guidance for all rows, as an `AverageVelocity` for `sampleMeanFlow`. Scale and interval can be chosen when sampling. */
export function underGuidance(
  network: TwoHeadedVelocity,
  guidance: { omega: number; interval?: readonly [start: number, end: number] },
): AverageVelocity {
  checkNumber('underGuidance: omega', guidance.omega, { min: 1 });
  const [start, end] = guidance.interval ?? [0, 1];
  checkNumber('underGuidance: interval start', start, { min: 0, max: end });
  checkNumber('underGuidance: interval end', end, { min: start, max: 1 });
  return (z, t, h, y) => {
    if (y === undefined) throw new Error('underGuidance: y: wanted labels [B], got undefined');
    const constant = (value: number): Tensor => tf.fill([z.shape[0]!], value);
    return network.u(z, t, h, { omega: constant(guidance.omega), tMin: constant(start), tMax: constant(end), y });
  };
}
