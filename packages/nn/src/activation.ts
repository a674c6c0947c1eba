import { tf, type Tensor } from '@atelier/tensor';
import { closedForm, sumLast } from './derivative.ts';

/** Which Gaussian error linear unit: the tanh approximation (DiT) or the exact one by erf (Swin, PyTorch's default). */
export type GeluKind = 'tanh' | 'erf';

/**
 * Gaussian error linear unit, elementwise; any shape, float32.
 *
 * `tanh`: ½x(1 + tanh(√(2/π)(x + 0.044715x³))). `erf`: ½x(1 + erf(x/√2)).
 */
export function gelu(x: Tensor, kind: GeluKind): Tensor {
  if (kind === 'tanh') return closedForm(x, geluTanh, geluTanhPullback);
  if (kind === 'erf') return closedForm(x, geluErf, geluErfPullback);
  throw new Error(`gelu: wanted kind 'tanh' or 'erf', got ${String(kind)}`);
}

/** x·σ(x), elementwise; any shape, float32. Derivative σ + xσ(1 - σ). */
export function silu(x: Tensor): Tensor {
  return closedForm(
    x,
    (input) => tf.mul(input, tf.sigmoid(input)),
    (dy, input) => {
      const gate = tf.sigmoid(input);
      return tf.mul(dy, gateDerivative(tf.mul(input, gate), gate, null));
    },
  );
}

/** Softmax over the last axis; any shape, float32. Jacobian diag(p) - ppᵀ. */
export function softmax(logits: Tensor): Tensor {
  return closedForm(
    logits,
    (input) => tf.softmax(input),
    (dy, input) => {
      const p = tf.softmax(input);
      return tf.mul(p, tf.sub(dy, sumLast(tf.mul(p, dy))));
    },
  );
}

// With ½(1 + tanh z) = σ(2z): one sigmoid instead of a tanh, a sum and a product, each a pass over the widest tensor of a network.
// 2z = a(x + bx³) = x·slope with slope = a(1 + bx²).
const a = 2 * Math.sqrt(2 / Math.PI);
const b = 0.044715;
const slopeOf = (x: Tensor): Tensor => tf.add(tf.mul(tf.square(x), a * b), a);

function geluTanh(x: Tensor): Tensor {
  return tf.mul(x, tf.sigmoid(tf.mul(x, slopeOf(x))));
}

function geluTanhPullback(dy: Tensor, x: Tensor): Tensor {
  const slope = slopeOf(x);
  const gate = tf.sigmoid(tf.mul(x, slope));
  // (2z)′ = a(1 + 3bx²) = 3·slope - 2a
  return tf.mul(dy, gateDerivative(tf.mul(x, gate), gate, tf.sub(tf.mul(slope, 3), 2 * a)));
}

/** d/dx of y = x·σ(f(x)): σ + y(1 - σ)·f′, where a missing f′ is 1. */
function gateDerivative(y: Tensor, gate: Tensor, inner: Tensor | null): Tensor {
  const bent = tf.sub(y, tf.mul(y, gate));
  return tf.add(gate, inner === null ? bent : tf.mul(bent, inner));
}

const normalCdf = (x: Tensor): Tensor => tf.add(tf.mul(tf.erf(tf.mul(x, Math.SQRT1_2)), 0.5), 0.5);

function geluErf(x: Tensor): Tensor {
  return tf.mul(x, normalCdf(x));
}

function geluErfPullback(dy: Tensor, x: Tensor): Tensor {
  const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
  return tf.mul(dy, tf.add(normalCdf(x), tf.mul(x, density)));
}
