import { checkLike, checkNumber, isTensor, tf, type Tensor } from '@atelier/tensor';
import type { Parameterization } from './parameterization.ts';

/**
 * A network as all of SiD sees it: scaled image [B, …], the number it is told of the noise [B] float32 (see `Parameterization.input`), what it is asked for
 * [B, …] (labels, features of a text) or nothing -> [B, …]. Any TensorFlow.js function fits. It must treat samples independently.
 */
export type SidNetwork = (x: Tensor, t: Tensor, condition?: Tensor) => Tensor;

/** What samples are asked for, [B, …], and what stands for "nothing", [B, …] or [1, …] for all. Absent for networks without conditions. */
export type Condition = { readonly given: Tensor; readonly none: Tensor };

/**
 * Scales κ of classifier-free guidance, o_κ = o(none) + κ·(o(given) - o(none)): 1 is the conditional network, 0 the unconditional one, below 0 guides away.
 */
export type GuidanceScales = {
  /** κ1: the fake score while it is fitted. */
  readonly fit: number;
  /** κ2: the fake score in the difference Δ. */
  readonly fake: number;
  /** κ3: the fake score that x_g is subtracted from; equal to κ2 in all public code and if absent. */
  readonly residual?: number;
  /** κ4: the teacher. */
  readonly teacher: number;
};

/** The published settings by name. */
export const guidanceScales = {
  none: { fit: 1, fake: 1, teacher: 1 },
  /** "Long": the teacher alone is guided. */
  long: (kappa: number): GuidanceScales => ({ fit: 1, fake: 1, teacher: kappa }),
  /** "Long and short": all by the same scale; 1.5 to 4.5 are published. */
  lsg: (kappa: number): GuidanceScales => ({ fit: kappa, fake: kappa, teacher: kappa }),
  /** The fake score knows no condition, the teacher has no guidance. Meant to be used with the adversarial term. */
  zero: { fit: 0, fake: 0, teacher: 1 },
  /** The fake score is guided away from the condition; -1 if nothing else is said. Meant to be used with the adversarial term. */
  anti: (kappa = -1): GuidanceScales => ({ fit: kappa, fake: kappa, teacher: 1 }),
} as const;

/** Throws unless all scales are finite. */
export function checkGuidance(scales: GuidanceScales, where: string): void {
  for (const [name, value] of Object.entries(scales)) if (value !== undefined) checkNumber(`${where}: guidance: ${name}`, value);
}

/** x_t [B, …], times [B], and the condition where the network takes one. */
type GuidedInput = { x: Tensor; t: Tensor; condition?: Condition };

/** The network's output at x_t [B, …] and times [B] under guidance of scale κ. A scale of 0 or 1 takes one evaluation, another a doubled batch. */
export function guidedOutput(
  network: SidNetwork,
  parameterization: Parameterization,
  at: GuidedInput,
  kappa: number,
  where: string,
): Tensor {
  const input = parameterization.input(at.x, at.t);
  const evaluate = (x: Tensor, t: Tensor, asked?: Tensor): Tensor => {
    const output = network(x, t, asked);
    checkLike(output, x, `${where}: output of the network`);
    return output;
  };
  if (at.condition === undefined) {
    if (kappa !== 1) throw new Error(`${where}: condition: wanted labels, which guidance of scale ${kappa} needs, got none`);
    return evaluate(input.x, input.t);
  }
  const { given, none } = checkCondition(at.condition, at.x, where);
  if (kappa === 1) return evaluate(input.x, input.t, given);
  if (kappa === 0) return evaluate(input.x, input.t, none);
  const twice = (tensor: Tensor): Tensor => tf.concat([tensor, tensor], 0);
  const [conditional, unconditional] = tf.split(evaluate(twice(input.x), twice(input.t), tf.concat([given, none], 0)), 2, 0);
  return tf.add(unconditional!, tf.mul(tf.sub(conditional!, unconditional!), kappa));
}

/** The clean image D_κ that the guided output stands for. */
export function guidedDenoised(
  network: SidNetwork,
  parameterization: Parameterization,
  at: GuidedInput,
  kappa: number,
  where: string,
): Tensor {
  return parameterization.denoised(guidedOutput(network, parameterization, at, kappa, where), at.x, at.t);
}

/** The condition with "nothing" wherever `dropped` [B] bool says so. */
export function dropCondition(condition: Condition, dropped: Tensor, like: Tensor): Condition {
  const { given, none } = checkCondition(condition, like, 'dropCondition');
  const gone = tf.broadcastTo(tf.reshape(dropped, [dropped.shape[0]!, ...given.shape.slice(1).map(() => 1)]), given.shape);
  return { given: tf.where(tf.cast(gone, 'bool'), none, given), none };
}

function checkCondition({ given, none }: Condition, x: Tensor, where: string): Condition {
  const B = x.shape[0]!;
  if (!isTensor(given) || given.shape[0] !== B)
    throw new Error(
      `${where}: condition: wanted one for each of the ${B} samples, got ${isTensor(given) ? `[${given.shape.join(', ')}]` : typeof given}`,
    );
  if (!isTensor(none) || none.shape.slice(1).join() !== given.shape.slice(1).join() || (none.shape[0] !== 1 && none.shape[0] !== B))
    throw new Error(
      `${where}: condition: none: wanted one or ${B} of the shape of a given one, got ${isTensor(none) ? `[${none.shape.join(', ')}]` : typeof none}`,
    );
  if (none.dtype !== given.dtype) throw new Error(`${where}: condition: none: wanted ${given.dtype} as the given ones, got ${none.dtype}`);
  return { given, none: none.shape[0] === B ? none : tf.tile(none, [B, ...none.shape.slice(1).map(() => 1)]) };
}
