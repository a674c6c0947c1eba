import { tf } from '../src/tf.ts';
import type { Host } from './closeness.ts';
import type { Tensor } from './pool.ts';

/** Steps for which `cpu` is wrong. Each is derived a second time in float64. */
export function isKnownDifference(name: string, inputs: readonly Tensor[], got: Host): boolean {
  const exact = known[name];
  if (exact === undefined) return false;
  return exact(...inputs).every((value, i) => Object.is(value, got.data[i]) || Math.abs(value - got.data[i]!) <= 2e-6 * Math.abs(value));
}

const pairs =
  (f: (a: number, b: number) => number) =>
  (a: Tensor, b: Tensor): number[] => {
    const shape = tf.broadcastTo(a, tf.backend_util.assertAndGetBroadcastShape(a.shape, b.shape)).shape;
    const [x, y] = [a, b].map((v) => tf.broadcastTo(v, shape).dataSync());
    return Array.from(x!, (value, i) => Math.fround(f(value, y![i]!)));
  };

/** The right values in float64, for inputs as the step took them. */
const known: Record<string, (...inputs: Tensor[]) => number[]> = {
  // IEEE 754: 1 to any power is 1, and -1 to an infinite power too. JavaScript gives NaN.
  'pow of anything': pairs((x, y) => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y)),
};
