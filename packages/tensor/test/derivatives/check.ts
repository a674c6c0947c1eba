import { expectClose, tensorDifference, tensorDirectionalDifference } from '../../../testkit/src/index.ts';
import { jvp, Rng, tf, toTensor, type HostTensor, type Tensor } from '../../src/index.ts';
import type { Case } from './draw.ts';

/** Compares the derivatives of a case with differences of its values. */

export const name = ({ kernel, about }: Case): string => (about === undefined ? kernel : `${kernel}: ${about}`);

/** What the derivatives of a case have to be, from differences of its values on TensorFlow.js's own `cpu`. */
export type Expected = { xs: HostTensor[]; directions: HostTensor[]; cotangent: HostTensor; gradients: HostTensor[]; along: HostTensor };

export function differences(at: Case): Expected {
  return tf.tidy(() => {
    const xs = at.xs();
    const rng = new Rng(name(at));
    const directions = xs.map((x, i) => rng.child(`direction ${i}`).normal(x.shape));
    const cotangent = rng.child('cotangent').normal(at.f(...xs).shape);
    return {
      xs: xs.map(toHostNow),
      directions: directions.map(toHostNow),
      cotangent: toHostNow(cotangent),
      gradients: tensorDifference(at.f, xs, { cotangent: cotangent.dataSync() }),
      along: tensorDirectionalDifference(at.f, xs, directions),
    };
  });
}

const toHostNow = (x: Tensor): HostTensor => ({ dtype: 'float32', shape: [...x.shape], data: Float32Array.from(x.dataSync()) });

/** How often the registered derivatives of a kernel were asked for while `run` ran. */
function callsOf(kernel: string, run: () => void): number {
  const registered = tf.getGradient(kernel);
  if (registered === undefined) throw new Error(`${kernel} has no derivative`);
  let calls = 0;
  tf.unregisterGradient(kernel);
  tf.registerGradient({ ...registered, gradFunc: (...args) => (calls++, registered.gradFunc(...args)) });
  try {
    run();
  } finally {
    tf.unregisterGradient(kernel);
    tf.registerGradient(registered);
  }
  return calls;
}

const bounds = { max: 1e-3, abs: 1e-3 };

/** Gradients and forward mode on the current engine against the differences, and against each other. Returns how often the derivative was asked for. */
export function expectDerivatives(at: Case, { xs, directions, cotangent, gradients, along }: Expected): number {
  let calls = 0;
  tf.tidy(() => {
    const inputs = xs.map(toTensor);
    let grads: Tensor[] = [];
    calls = callsOf(at.kernel, () => ({ grads } = tf.valueAndGrads(at.f)(inputs, toTensor(cotangent))));
    if (at.ties !== true) grads.forEach((grad, i) => expectClose(grad, gradients[i]!, bounds, `gradient of input ${i}`));
    const { tangent } = jvp(at.f, inputs, directions.map(toTensor));
    if (at.kink !== true && at.ties !== true) expectClose(tangent, along, bounds, 'forward mode');
    // <w, J·ẋ> = <Jᵀw, ẋ>, at kinks too.
    const inner = (a: Tensor, b: Tensor): Tensor => tf.sum(tf.mul(a, b));
    const pulled = grads.map((grad, i) => inner(grad, toTensor(directions[i]!))).reduce((a, b) => tf.add(a, b));
    expectClose(inner(tangent, toTensor(cotangent)), pulled, { abs: 1e-4, rel: 1e-4 }, 'duality');
    if (at.ties !== true) return;
    // Largest and smallest elements: f(c x) = c f(x), so <w, f> = Σ <x, Jᵀw> (Euler), for any way to share between equal elements.
    const whole = grads.map((grad, i) => inner(grad, inputs[i]!)).reduce((a, b) => tf.add(a, b));
    expectClose(whole, inner(at.f(...inputs), toTensor(cotangent)), { abs: 1e-4, rel: 1e-4 }, 'the sum of the shares');
  });
  return calls;
}
