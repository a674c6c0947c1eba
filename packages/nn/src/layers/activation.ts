import { closedForm, runFused, sumLast, type Tensor, tf } from '@atelier/tensor';

/** The form of the Gaussian error linear unit: the tanh approximation (DiT) or the exact form with erf (Swin, PyTorch's default). */
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
    (input) => tf.mul(input, fastSigmoid(input)),
    (dy, input) => {
      const gate = fastSigmoid(input);
      const y = tf.mul(input, gate);
      return tf.mul(dy, tf.add(gate, tf.sub(y, tf.mul(y, gate))));
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

// ½(1 + tanh z) = σ(2z). With u = λx and λ³ = ab, the argument 2z = a(x + bx³) becomes w = u(u² + a/λ), which needs no more factors. The remaining
// factors stand before and after the nonlinearity, and the engine folds them into the linear layers around it. This matters because each operation
// here is a pass over the widest tensor of a network.
const a = 2 * Math.sqrt(2 / Math.PI);
const b = 0.044715;
const lambda = Math.cbrt(a * b);

function geluGate(x: Tensor): { u: Tensor; square: Tensor; gate: Tensor } {
  const u = tf.mul(x, lambda);
  const square = tf.square(u);
  return { u, square, gate: fastSigmoid(tf.mul(u, tf.add(square, a / lambda))) };
}

// The engine's fast form has an absolute error of 1e-7. This matters only where σ is itself that small, and there the product with u is small too.
function fastSigmoid(x: Tensor): Tensor {
  return runFused('FastSigmoid', { x })?.[0] ?? tf.sigmoid(x);
}

function geluTanh(x: Tensor): Tensor {
  const fused = runFused('GeluTanh', { x });
  if (fused !== null) return fused[0]!;
  const { u, gate } = geluGate(x);
  return tf.mul(tf.mul(u, gate), 1 / lambda);
}

// d/dx xσ(w) = σ + xw′σ(1 - σ) with xw′ = 3e, e = u(u² + a/3λ): 3σ(1/3 + (1 - σ)e).
function geluTanhPullback(dy: Tensor, x: Tensor): Tensor {
  const { u, square, gate } = geluGate(x);
  const bent = tf.mul(tf.sub(1, gate), tf.mul(u, tf.add(square, a / (3 * lambda))));
  return tf.mul(tf.mul(dy, tf.mul(gate, tf.add(bent, 1 / 3))), 3);
}

const normalCdf = (x: Tensor): Tensor => tf.add(tf.mul(tf.erf(tf.mul(x, Math.SQRT1_2)), 0.5), 0.5);

function geluErf(x: Tensor): Tensor {
  return runFused('GeluErf', { x })?.[0] ?? tf.mul(x, normalCdf(x));
}

function geluErfPullback(dy: Tensor, x: Tensor): Tensor {
  const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
  return tf.mul(dy, tf.add(normalCdf(x), tf.mul(x, density)));
}
