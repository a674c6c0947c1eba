import { checkNumber, type Tensor, tf, type Tree, treeLeaves, treeMap } from '@atelier/tensor';
import { mapElementWise } from './element-wise.ts';

/**
 * An optimizer as a pair of pure functions. `update` returns new trees and disposes nothing; call it in `tf.tidy` or a compiled step.
 * The learning rate is a scalar tensor, so that a compiled step is not traced again for a new value.
 */
export type Optimizer<State extends Tree> = {
  init: (params: Tree) => State;
  update: <P extends Tree>(grads: P, state: State, params: P, learningRate: Tensor) => { params: P; state: State };
};

export type AdamState = {
  /** Number of updates done. */
  step: Tensor;
  /** Σ β₁ᵏ and Σ β₂ᵏ over the updates done: the total weight in each sum below. */
  weight1: Tensor;
  weight2: Tensor;
  /** Σ β₁ᵏ g and Σ β₂ᵏ g², the newest gradient with k = 0; PyTorch's `exp_avg` is (1 - β₁) times the first, `exp_avg_sq` (1 - β₂) times the second. */
  sum1: Tree;
  sum2: Tree;
};

export type AdamWOptions = {
  b1?: number;
  b2?: number;
  eps?: number;
  /** Decoupled decay: parameters shrink by learningRate·weightDecay. 0, the default, makes this Adam. */
  weightDecay?: number;
  /** Which parameters decay, by dotted path; all if absent. */
  mask?: (path: string) => boolean;
};

/**
 * AdamW (Loshchilov & Hutter, arXiv 1711.05101) as PyTorch computes it: θ ← θ(1 - ηλ) - η·m̂ / (√v̂ + ε), ε outside the root.
 *
 * Plain sums are used instead of moving averages: m̂ = Σβ₁ᵏg / Σβ₁ᵏ. The bias corrections then become two scalars per step:
 * η·m̂/(√v̂ + ε) = (η√w₂/w₁)·s₁ / (√s₂ + ε√w₂). This takes ten operations per parameter instead of thirteen. And w = Σβᵏ loses no digits in
 * float32, while 1 - βᵗ does.
 */
export function adamW({ b1 = 0.9, b2 = 0.999, eps = 1e-8, weightDecay = 0, mask }: AdamWOptions = {}): Optimizer<AdamState> {
  checkNumber('adamW: b1', b1, { min: 0, below: 1 });
  checkNumber('adamW: b2', b2, { min: 0, below: 1 });
  checkNumber('adamW: eps', eps, { min: 0 });
  checkNumber('adamW: weightDecay', weightDecay, { min: 0 });
  return {
    init: (params) => ({
      step: tf.scalar(0),
      weight1: tf.scalar(0),
      weight2: tf.scalar(0),
      sum1: treeMap((leaf) => tf.zerosLike(leaf), params),
      sum2: treeMap((leaf) => tf.zerosLike(leaf), params),
    }),
    update: (grads, state, params, learningRate) => {
      checkScalar('adamW: learningRate', learningRate);
      const weight1 = tf.add(tf.mul(state.weight1, b1), 1);
      const weight2 = tf.add(tf.mul(state.weight2, b2), 1);
      const root = tf.sqrt(weight2);
      const rate = tf.div(tf.mul(learningRate, root), weight1);
      const floor = tf.mul(root, eps);
      const kept = tf.sub(1, tf.mul(learningRate, weightDecay));
      const decays = (path: string): boolean => weightDecay > 0 && (mask === undefined || mask(path));
      const [updated, sum1, sum2] = mapElementWise(
        [params, grads, state.sum1, state.sum2],
        ([theta, g, old1, old2], path) => {
          const s1 = b1 === 0 ? g! : tf.add(tf.mul(old1!, b1), g!);
          const s2 = tf.add(tf.mul(old2!, b2), tf.square(g!));
          const decayed = decays(path) ? tf.mul(theta!, kept) : theta!;
          return [tf.sub(decayed, tf.div(tf.mul(s1, rate), tf.add(tf.sqrt(s2), floor))), s1, s2];
        },
        (path) => String(decays(path)),
      );
      return { params: updated as typeof params, state: { step: tf.add(state.step, 1), weight1, weight2, sum1: sum1!, sum2: sum2! } };
    },
  };
}

export type SgdState = { step: Tensor; velocity: Tree };

/** Gradient descent with momentum as PyTorch computes it: b ← μb + g, θ ← θ - ηb. Without momentum the velocity is an empty list. */
export function sgd({ momentum = 0 }: { momentum?: number } = {}): Optimizer<SgdState> {
  checkNumber('sgd: momentum', momentum, { min: 0, below: 1 });
  return {
    init: (params) => ({ step: tf.scalar(0), velocity: momentum === 0 ? [] : treeMap((leaf) => tf.zerosLike(leaf), params) }),
    update: (grads, state, params, learningRate) => {
      checkScalar('sgd: learningRate', learningRate);
      const velocity = momentum === 0 ? [] : treeMap((b, _, g) => tf.add(tf.mul(b, momentum), g!), state.velocity, grads);
      const updated = treeMap((theta, _, b) => tf.sub(theta, tf.mul(b!, learningRate)), params, momentum === 0 ? grads : velocity);
      return { params: updated, state: { step: tf.add(state.step, 1), velocity } };
    },
  };
}

/** Gradients are divided by at least this number before they are squared. */
const LEAST_SCALE = 1e-30;

/**
 * Scales all gradients by min(1, max / (norm + 1e-6)), where norm is the root of the sum of all squares (PyTorch's `clip_grad_norm_`). A
 * gradient that is not finite makes the norm and every gradient NaN, so check the norm during training.
 *
 * All entries are divided by the largest one before they are squared, so the norm is also right for gradients of 1e20 or 1e-25.
 */
export function clipByGlobalNorm<G extends Tree>(grads: G, max: number): { grads: G; norm: Tensor } {
  checkNumber('clipByGlobalNorm: max', max, { above: 0 });
  const leaves = treeLeaves(grads).filter((g) => g.size > 0);
  if (leaves.length === 0) throw new Error('clipByGlobalNorm: grads: wanted at least one tensor, got none');
  const largest = leaves.map((g) => tf.max(tf.abs(g))).reduce((a, b) => tf.maximum(a, b), tf.scalar(LEAST_SCALE));
  // An infinite entry becomes ∞/∞ = NaN here.
  const scaled = tf.sqrt(leaves.map((g) => tf.sum(tf.square(tf.div(g, largest)))).reduce((a, b) => tf.add(a, b)));
  const factor = tf.minimum(tf.div(tf.div(max, largest), tf.add(scaled, tf.div(1e-6, largest))), 1);
  return { grads: treeMap((g) => tf.mul(g, factor), grads), norm: tf.mul(scaled, largest) };
}

/**
 * Exponential moving average a + (1 - decay)(θ - a), for each leaf. With a decay of 1 the average does not change.
 *
 * A float32 decay near 1 keeps only a few digits of 1 - decay: the error is 1.3 % at 0.999999, and at 0.99999999 the average does not move. So give
 * the decay as a number. In a compiled step, where it is an argument, give 1 - decay instead: `{ rate: tf.scalar(1 - decay) }`.
 * @param decay a number in 0 … 1; or `rate` = 1 - decay as a scalar tensor; or, if it is below about 0.9999, a scalar tensor
 */
export function emaUpdate<P extends Tree>(average: P, params: P, decay: number | Tensor | { rate: Tensor }): P {
  const rate = rateOf(decay);
  const [next] = mapElementWise([average, params], ([a, theta]) => [tf.add(a!, tf.mul(tf.sub(theta!, a!), rate))]);
  return next as P;
}

function rateOf(decay: number | Tensor | { rate: Tensor }): Tensor {
  if (typeof decay === 'number') {
    checkNumber('emaUpdate: decay', decay, { min: 0, max: 1 });
    return tf.scalar(1 - decay);
  }
  if (decay !== null && typeof decay === 'object' && 'rate' in decay) {
    checkScalar('emaUpdate: rate', decay.rate);
    return decay.rate;
  }
  checkScalar('emaUpdate: decay', decay);
  return tf.sub(1, decay);
}

function checkScalar(where: string, x: Tensor): void {
  if (!(x instanceof tf.Tensor) || x.rank !== 0) {
    throw new Error(`${where}: wanted a scalar tensor, got ${x instanceof tf.Tensor ? `shape [${x.shape.join(', ')}]` : typeof x}`);
  }
}
