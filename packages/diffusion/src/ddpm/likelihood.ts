import { closedForm, type Tensor, tf } from '@atelier/tensor';

/** KL divergence of N(mean1, e^log1) from N(mean2, e^log2), elementwise in nats: ½(-1 + ℓ₂ - ℓ₁ + e^(ℓ₁-ℓ₂) + (μ₁ - μ₂)²e^(-ℓ₂)). Shapes broadcast. */
export function normalKl(mean1: Tensor, logVariance1: Tensor, mean2: Tensor, logVariance2: Tensor): Tensor {
  return tf.tidy(() => {
    const spread = tf.sub(logVariance2, logVariance1);
    const distance = tf.mul(tf.square(tf.sub(mean1, mean2)), tf.exp(tf.neg(logVariance2)));
    return tf.mul(tf.add(tf.add(tf.sub(spread, 1), tf.exp(tf.neg(spread))), distance), 0.5);
  });
}

/** Half of the distance between neighbouring levels: 256 levels cover [-1, 1]. */
const HALF_BIN = 1 / 255;
/** Beyond ± this value lie the two outermost levels, whose bins reach to infinity. */
const OUTERMOST = 0.999;

/**
 * Log-probability in nats, elementwise, of x in [-1, 1]: N(mean, e^logVariance) integrated over the bin of the level of x. A bin has half width 1/255; the two
 * outermost bins reach to ±∞ (facebookresearch/DiT diffusion/diffusion_utils.py:60). Φ is approximated by a tanh.
 */
export function discretizedGaussianLogLikelihood(x: Tensor, mean: Tensor, logVariance: Tensor): Tensor {
  return tf.tidy(() => {
    const centred = tf.sub(x, mean);
    const precision = tf.exp(tf.mul(logVariance, -0.5));
    const below = approximateNormalCdf(tf.mul(tf.sub(centred, HALF_BIN), precision));
    const above = approximateNormalCdf(tf.mul(tf.add(centred, HALF_BIN), precision));
    const inside = tf.where(tf.greater(x, OUTERMOST), logOf(tf.sub(1, below)), logOf(tf.sub(above, below)));
    return tf.where(tf.less(x, -OUTERMOST), logOf(above), inside);
  });
}

/** Φ(z) ≈ ½(1 + tanh(√(2/π)(z + 0.044715z³))). */
function approximateNormalCdf(z: Tensor): Tensor {
  const cubic = tf.add(z, tf.mul(tf.mul(tf.square(z), z), 0.044715));
  return tf.mul(tf.add(roundedTanh(tf.mul(cubic, Math.sqrt(2 / Math.PI))), 1), 0.5);
}

/**
 * tanh u = ±(1 - 2/(1 + e^(2|u|))), rounded to the nearest float32 near ±1. The probability of a bin in the tail is the difference of two numbers near ±1: only
 * a few of their last bits. The fast tanh of an engine can be wrong by five units in the last place, so it cannot be used here.
 */
function roundedTanh(u: Tensor): Tensor {
  const value = (at: Tensor): Tensor => {
    const short = tf.div(2, tf.add(tf.exp(tf.mul(tf.abs(at), 2)), 1));
    return tf.mul(tf.sign(at), tf.sub(1, short));
  };
  return closedForm(u, value, (dy, at) => tf.mul(dy, tf.sub(1, tf.square(value(at)))));
}

const logOf = (probability: Tensor): Tensor => tf.log(tf.clipByValue(probability, 1e-12, 1));
