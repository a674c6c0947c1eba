import { tf, type Tensor } from '../tfjs.ts';

/** A derivative in the form that TensorFlow.js registers. */
export type Gradient = Parameters<typeof tf.registerGradient>[0];

type Attributes = Record<string, unknown>;

/**
 * The derivative of a kernel with named inputs. `pullback` returns, for each input that can have a gradient, a function that computes
 * Jᵀ·dy. `saved` are the named inputs and then, if `output` is true, the first output. The functions must be linear in dy and use
 * differentiable operations, so that `jvp` can transpose them.
 */
export function gradient(
  kernelName: string,
  inputs: readonly string[],
  pullback: (dy: Tensor, saved: Tensor[], attributes: never) => Record<string, () => Tensor>,
  { output = false }: { output?: boolean } = {},
): Gradient {
  return {
    kernelName,
    inputsToSave: [...inputs],
    ...(output && { outputsToSave: [true] }),
    gradFunc: (dy, saved, attributes) => pullback(dy as Tensor, saved as Tensor[], attributes as Attributes as never),
  };
}

/** Runs a kernel for which TensorFlow.js has no function. Gradients are recorded as for any other kernel. */
export const runKernel = (name: string, inputs: Record<string, Tensor>, attributes: Attributes): Tensor =>
  tf.engine().runKernel(name, inputs, attributes as never) as Tensor;

/**
 * Axes as numbers from 0. TensorFlow.js allows one axis, several, or none (which means all), and negative ones are counted from the end.
 */
export function axesOf(axis: number | readonly number[] | null | undefined, rank: number): number[] {
  if (axis === null || axis === undefined) return Array.from({ length: rank }, (_, i) => i);
  return (typeof axis === 'number' ? [axis] : axis).map((at) => (at < 0 ? at + rank : at));
}

/** `shape` with size 1 along `axes`. */
export const withOnes = (shape: readonly number[], axes: readonly number[]): number[] =>
  shape.map((size, i) => (axes.includes(i) ? 1 : size));

/** Product of sizes. */
export const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);
