import { tf, type Tensor } from '../tfjs.ts';

/** A registered derivative as TensorFlow.js keeps it. */
export type Gradient = Parameters<typeof tf.registerGradient>[0];

type Attributes = Record<string, unknown>;

/**
 * A derivative of a kernel with named inputs: `pullback` gives for each input that can carry one a function that makes Jᵀ·dy from `saved`, the
 * named inputs and then the first output where `output` is true. Each is linear in dy and made of differentiable operations, so that `jvp`
 * can transpose it.
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

/** Runs a kernel that TensorFlow.js has no function for; it goes on the tape like any other. */
export const runKernel = (name: string, inputs: Record<string, Tensor>, attributes: Attributes): Tensor =>
  tf.engine().runKernel(name, inputs, attributes as never) as Tensor;

/** Axes as TensorFlow.js takes them (one, several, or all if absent; counted from the end if negative) as numbers from 0. */
export function axesOf(axis: number | readonly number[] | null | undefined, rank: number): number[] {
  if (axis === null || axis === undefined) return Array.from({ length: rank }, (_, i) => i);
  return (typeof axis === 'number' ? [axis] : axis).map((at) => (at < 0 ? at + rank : at));
}

/** `shape` with size 1 along `axes`. */
export const withOnes = (shape: readonly number[], axes: readonly number[]): number[] =>
  shape.map((size, i) => (axes.includes(i) ? 1 : size));

/** Product of sizes. */
export const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);
