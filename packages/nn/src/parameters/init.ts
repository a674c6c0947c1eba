import { checkNumber, type Rng, type Tensor, tf, type Tree, unflattenTree } from '@atelier/tensor';

/**
 * How a parameter starts: all zeros or ones; `xavier`, uniform in ±√(6 / (fan_in + fan_out)); `torch`, uniform in ±1/√fan_in (PyTorch's
 * default for linear and convolution weights); uniform in ± a bound; or normal with the given standard deviation. A weight [out, in…] has fan_out = out and
 * fan_in = the product of the rest, which is how DiT treats its patch convolution.
 */
export type Init = 'zeros' | 'ones' | 'xavier' | 'torch' | { uniform: number } | { normal: number };

/** Shape and start of every parameter of a network, by its official name. */
export type ParameterTable = Record<string, { shape: number[]; init: Init }>;

/** One new parameter. The caller owns it. */
export function initTensor(rng: Rng, shape: number[], init: Init): Tensor {
  shape.forEach((size, axis) => checkNumber(`initTensor: axis ${axis}`, size, { integer: true, min: 1 }));
  const out = shape[0] ?? 1;
  const fanIn = shape.slice(1).reduce((a, b) => a * b, 1);
  if (init === 'zeros') return tf.zeros(shape);
  if (init === 'ones') return tf.ones(shape);
  if (init === 'xavier') return uniform(rng, shape, Math.sqrt(6 / (fanIn + out)));
  if (init === 'torch') return uniform(rng, shape, 1 / Math.sqrt(fanIn));
  if (typeof init === 'object' && init !== null && 'uniform' in init) {
    checkNumber('initTensor: bound', init.uniform, { above: 0 });
    return uniform(rng, shape, init.uniform);
  }
  if (typeof init === 'object' && init !== null) {
    checkNumber('initTensor: standard deviation', init.normal, { min: 0 });
    return tf.tidy(() => tf.mul(rng.normal(shape), init.normal));
  }
  throw new Error(`initTensor: wanted 'zeros', 'ones', 'xavier', 'torch', { uniform } or { normal }, got ${String(init)}`);
}

/** New parameters for a whole table. Each is drawn from the child stream of its own name, so adding one changes no other. */
export function initParameters(rng: Rng, table: ParameterTable): Tree {
  return unflattenTree(
    Object.fromEntries(Object.entries(table).map(([name, { shape, init }]) => [name, initTensor(rng.child(name), shape, init)])),
  );
}

/** Number of scalars in a table, without allocating any. */
export function parameterCount(table: ParameterTable): number {
  return Object.values(table).reduce((total, { shape }) => total + shape.reduce((a, b) => a * b, 1), 0);
}

const uniform = (rng: Rng, shape: number[], bound: number): Tensor => rng.uniform(shape, -bound, bound);
