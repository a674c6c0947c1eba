import { jvp, Rng, tf, type Tensor } from '@atelier/tensor';
import { expectClose } from './close.ts';
import { centralDifference, directionalDifference } from './finite-difference.ts';

export type HostLayer = (...xs: Float64Array[]) => Float64Array;

/**
 * Compares a layer with a float64 reference: the value, and by central differences of the reference the gradients of all inputs (with a random cotangent)
 * and the forward mode (along random tangents). Bounds are relative to the largest expected value.
 */
export function checkLayer(
  layer: (...xs: Tensor[]) => Tensor,
  host: HostLayer,
  xs: Tensor[],
  rng: Rng,
  bounds = { value: 3e-6, derivative: 2e-5 },
): void {
  tf.tidy(() => {
    const points = xs.map((x) => Float64Array.from(x.dataSync()));
    const value = layer(...xs);
    expectClose(value.dataSync(), host(...points), { max: bounds.value }, 'value');

    const cotangent = rng.child('cotangent').normal(value.shape);
    const { grads } = tf.valueAndGrads(layer)(xs, cotangent);
    const expected = centralDifference(host, points, { cotangent: cotangent.dataSync() });
    grads.forEach((grad, i) => expectClose(grad.dataSync(), expected[i]!, { max: bounds.derivative, abs: 1e-6 }, `gradient of input ${i}`));

    const tangents = xs.map((x, i) => rng.child(`tangent ${i}`).normal(x.shape));
    const forward = jvp(layer, xs, tangents);
    expectClose(forward.value.dataSync(), value.dataSync(), { max: bounds.value }, 'value under jvp');
    const along = directionalDifference(
      host,
      points,
      tangents.map((tangent) => tangent.dataSync()),
    );
    expectClose(forward.tangent.dataSync(), along, { max: bounds.derivative, abs: 1e-6 }, 'tangent');
  });
}
