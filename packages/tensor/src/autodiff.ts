import { customGradient } from './custom-gradient.ts';
import { tf, type Tensor } from './tf.ts';
import { flattenTree, treeMap, type Tree } from './tree.ts';

/** Value of `f` at `xs` and the vector-Jacobian product: `pullback(w)` gives one Jᵀw per input. Call inside `tf.tidy` or a compiled function. */
export function vjp(f: (...xs: Tensor[]) => Tensor, xs: Tensor[], cotangent: Tensor): { value: Tensor; grads: Tensor[] } {
  return tf.valueAndGrads(f)(xs, cotangent);
}

/**
 * Value of `f` at `xs` and its directional derivative J·ẋ, by transposing w ↦ Jᵀw, which is linear in w.
 *
 * Only the path through the cotangent is differentiated twice, so faulty second derivatives of TensorFlow.js with respect to inputs are
 * not touched. A `null` tangent means zero, and the derivative along an input that `f` does not depend on is zero. Neither result carries a gradient to parameters that `f` closes over.
 */
export function jvp(f: (...xs: Tensor[]) => Tensor, xs: Tensor[], tangents: (Tensor | null)[]): { value: Tensor; tangent: Tensor } {
  if (xs.length !== tangents.length) throw new Error(`jvp: wanted ${xs.length} tangents, one for each input, got ${tangents.length}`);
  const moving = xs.flatMap((_, i) => (tangents[i] === null ? [] : [i]));
  if (moving.length === 0) throw new Error('jvp: wanted at least one tangent that is not null, got none');
  for (const i of moving) {
    const tangent = tangents[i]!;
    if (tangent.shape.join() !== xs[i]!.shape.join())
      throw new Error(`jvp: tangent ${i}: wanted shape [${xs[i]!.shape}], got [${tangent.shape}]`);
  }
  // Under the caller's tape one input may descend from another; cut, each is a variable of its own.
  const inputs = xs.map(stopGradient);
  const movingInputs = moving.map((i) => inputs[i]!);
  let value: Tensor | undefined;
  let w: Tensor | undefined;
  // TensorFlow.js reads this list after the function has run: w is of the shape of f's output, which is not known before.
  const watched = [inputs[0]!];
  const pairing = (): Tensor => {
    const { grads } = tf.engine().gradients(
      () => {
        const y = f(...inputs);
        value = hold(y);
        // The pairing is linear in w, so any w gives the same gradient.
        const cotangent = tf.keep(tf.zeros(y.shape));
        w = watched[0] = cotangent;
        return customGradient<[Tensor], []>([y], () => ({ value: tf.scalar(0), kept: [], pullback: () => [cotangent] }));
      },
      movingInputs,
      null as unknown as undefined,
      true,
    );
    // The last term keeps w in the result when f depends on no moving input.
    return grads
      .flatMap((grad, k) => (grad === null || grad === undefined ? [] : [tf.sum(tf.mul(grad, tangents[moving[k]!]!))]))
      .reduce((a, b) => tf.add(a, b), tf.mul(tf.sum(w!), 0));
  };
  try {
    const [tangent] = tf.engine().gradients(pairing, watched, null as unknown as undefined, true).grads;
    return { value: release(value!), tangent: tangent! };
  } finally {
    w?.dispose();
  }
}

/** The same values, cut from the gradient tape: nothing flows back through the result. It shares its data with `x`. */
export function stopGradient(x: Tensor): Tensor {
  const engine = tf.engine();
  engine.backend.incRef(x.dataId);
  return engine.makeTensorFromDataId(x.dataId, x.shape, x.dtype, engine.backend);
}

/**
 * Loss, gradients as a tree like `params`, and whatever else `f` returns beside the loss. A parameter that the loss does not depend on gets
 * a gradient of zeros. Call inside `tf.tidy` or a compiled function.
 */
export function valueAndGrad<P extends Tree, Aux extends Tree>(
  f: (params: P) => { loss: Tensor; aux: Aux },
  params: P,
): { loss: Tensor; aux: Aux; grads: P } {
  const leaves = flattenTree(params);
  const paths = Object.keys(leaves);
  let aux: Aux | undefined;
  const { value, grads } = tf.engine().gradients(
    () => {
      const out = f(params);
      if (out.loss.rank !== 0) throw new Error(`valueAndGrad: wanted a scalar loss, got shape [${out.loss.shape}]`);
      aux = treeMap(hold, out.aux);
      return out.loss;
    },
    Object.values(leaves),
    null as unknown as undefined,
    true,
  );
  const byPath = Object.fromEntries(paths.map((path, i) => [path, grads[i] ?? tf.zerosLike(leaves[path]!)]));
  return { loss: value, aux: treeMap(release, aux!), grads: treeMap((_, path) => byPath[path]!, params) };
}

/** TensorFlow.js disposes what a gradient's function made; a held tensor outlives that, and `release` gives it to the caller's tidy. */
const hold = (x: Tensor): Tensor => tf.keep(stopGradient(x));
const release = (held: Tensor): Tensor => {
  const own = stopGradient(held);
  held.dispose();
  return own;
};
