import { tf, type Tensor } from './tf.ts';

/** A value with its derivative. */
export type ValueAndPullback<Inputs extends readonly Tensor[], Kept extends readonly Tensor[]> = {
  value: Tensor;
  /** What the pullback reads besides the cotangent: inputs, or other tensors. They live until the gradient has been taken. */
  kept: Kept;
  /** Jᵀ·dy for each input. Written in differentiable operations and linear in dy, so that `jvp` can transpose it. */
  pullback: (dy: Tensor, ...kept: Kept) => { readonly [I in keyof Inputs]: Tensor };
};

/**
 * A function of tensors with a derivative of its own, in place of the one that TensorFlow.js would find: `tf.customGrad` with types.
 *
 * @param inputs what is differentiated with respect to. Tensors that `f` closes over get no gradient
 * @param f sees the inputs; in the pullback use `kept` alone, since the inputs may be gone by then
 */
export function customGradient<const Inputs extends readonly Tensor[], const Kept extends readonly Tensor[]>(
  inputs: Inputs,
  f: (...inputs: Inputs) => ValueAndPullback<Inputs, Kept>,
): Tensor {
  const custom = tf.customGrad((...args) => {
    // TensorFlow.js hands over the inputs and then a function that saves tensors, but types them all as tensors.
    const save = args.pop() as unknown as (tensors: Tensor[]) => void;
    const { value, kept, pullback } = f(...(args as unknown as Inputs));
    save([...kept]);
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => [...pullback(dy, ...(saved as unknown as Kept))];
    return { value, gradFunc };
  });
  return custom(...inputs);
}
