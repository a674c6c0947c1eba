import { tf, type Tensor } from './tf.ts';

/** A value and its derivative. */
export type ValueAndPullback<Inputs extends readonly Tensor[], Kept extends readonly Tensor[]> = {
  value: Tensor;
  /** The tensors that the pullback reads, besides dy: inputs or other tensors. They are kept until the gradient has been computed. */
  kept: Kept;
  /** Jᵀ·dy for each input. It must use differentiable operations and be linear in dy, so that `jvp` can transpose it. */
  pullback: (dy: Tensor, ...kept: Kept) => { readonly [I in keyof Inputs]: Tensor };
};

/**
 * A function of tensors with a given derivative, which replaces the derivative that TensorFlow.js would compute: `tf.customGrad` with
 * types.
 *
 * @param inputs the tensors to differentiate with respect to. Other tensors that `f` uses get no gradient
 * @param f gets the inputs. Its pullback must use only `kept`, because the inputs may already be disposed
 */
export function customGradient<const Inputs extends readonly Tensor[], const Kept extends readonly Tensor[]>(
  inputs: Inputs,
  f: (...inputs: Inputs) => ValueAndPullback<Inputs, Kept>,
): Tensor {
  const custom = tf.customGrad((...args) => {
    // TensorFlow.js passes the inputs, and then a function that saves tensors. Its types declare all of them as tensors.
    const save = args.pop() as unknown as (tensors: Tensor[]) => void;
    const { value, kept, pullback } = f(...(args as unknown as Inputs));
    save([...kept]);
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => [...pullback(dy, ...(saved as unknown as Kept))];
    // If an input were its own value, TensorFlow.js would count its gradient twice.
    return { value: args.includes(value) ? value.clone() : value, gradFunc };
  });
  return custom(...inputs);
}
