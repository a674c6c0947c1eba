import { tf, type Tensor } from './tf.ts';

/** A value and its derivative. */
export type ValueAndPullback<Inputs extends readonly Tensor[], Kept extends readonly Tensor[]> = {
  value: Tensor;
  /** The tensors that the pullback reads besides the cotangent: inputs or others. They are kept until the gradient has been computed. */
  kept: Kept;
  /** Jᵀ·dy for each input. Written in differentiable operations and linear in dy, so that `jvp` can transpose it. */
  pullback: (dy: Tensor, ...kept: Kept) => { readonly [I in keyof Inputs]: Tensor };
};

/**
 * A function of tensors with a given derivative, which replaces the one that TensorFlow.js would compute: `tf.customGrad` with types.
 *
 * @param inputs what is differentiated with respect to. Tensors that `f` closes over get no gradient
 * @param f gets the inputs. Its pullback must use only `kept`, because the inputs may already be disposed
 */
export function customGradient<const Inputs extends readonly Tensor[], const Kept extends readonly Tensor[]>(
  inputs: Inputs,
  f: (...inputs: Inputs) => ValueAndPullback<Inputs, Kept>,
): Tensor {
  const custom = tf.customGrad((...args) => {
    // TensorFlow.js passes the inputs and then a function that saves tensors, but its types call them all tensors.
    const save = args.pop() as unknown as (tensors: Tensor[]) => void;
    const { value, kept, pullback } = f(...(args as unknown as Inputs));
    save([...kept]);
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => [...pullback(dy, ...(saved as unknown as Kept))];
    return { value, gradFunc };
  });
  return custom(...inputs);
}
