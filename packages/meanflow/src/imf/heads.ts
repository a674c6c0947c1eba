import type { Tensor } from '@atelier/tensor';

/** The conditions of a sample, all [B]: guidance scale ω >= 1, the ends of the guidance interval in t, and the label (int32). */
export type ImfCondition = { omega: Tensor; tMin: Tensor; tMax: Tensor; y: Tensor };
export type ConditionedVelocity = (z: Tensor, t: Tensor, h: Tensor, condition: ImfCondition) => Tensor;
/** Two heads of one network: the average velocity over [t - h, t] and the instantaneous velocity. z [B, …] -> [B, …]. */
export type TwoHeadedVelocity = { u: ConditionedVelocity; v: ConditionedVelocity };
