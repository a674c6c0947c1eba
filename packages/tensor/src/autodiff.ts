import { customGradient } from './custom-gradient.ts';
import { tf, type Tensor } from './tf.ts';
import { flattenTree, treeMap, type Tree } from './tree.ts';

/**
 * The value of `f` at `xs`, and the vector-Jacobian product Jᵀ·cotangent, one tensor per input. Call inside `tf.tidy` or a compiled
 * function.
 */
export function vjp(f: (...xs: Tensor[]) => Tensor, xs: Tensor[], cotangent: Tensor): { value: Tensor; grads: Tensor[] } {
  return tf.valueAndGrads(f)(xs, cotangent);
}

/**
 * The value of `f` at `xs`, and its directional derivative J·ẋ. This is computed as the transpose of w ↦ Jᵀw, which is linear in w.
 *
 * Only the path through the cotangent w is differentiated twice. So no second derivatives with respect to inputs are used, some of which
 * are wrong in TensorFlow.js. A `null` tangent means zero. Inputs that `f` ignores contribute zero to the JVP. No gradient flows from the
 * results to parameters that `f` takes from its surroundings.
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
  // For TensorFlow.js, one input may depend on another. `stopGradient` makes each of them an independent variable.
  const inputs = xs.map(stopGradient);
  const movingInputs = moving.map((i) => inputs[i]!);
  let value: Tensor | undefined;
  let w: Tensor | undefined;
  // TensorFlow.js reads this list only after the function has run. The list is filled then, because w has the shape of f's output, which is
  // not known before.
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
    // If f depends on none of these inputs, the last term makes the result depend on w.
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

/** The same values without a gradient: no gradient flows back through the result. It shares its data with `x`. */
export function stopGradient(x: Tensor): Tensor {
  const engine = tf.engine();
  engine.backend.incRef(x.dataId);
  return engine.makeTensorFromDataId(x.dataId, x.shape, x.dtype, engine.backend);
}

/**
 * The loss, its gradients as a tree like `params`, and everything else that `f` returns (`aux`). If the loss does not depend on a
 * parameter, the gradient of this parameter is zero. Call inside `tf.tidy` or a compiled function.
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

/**
 * TensorFlow.js disposes the tensors that a function made while it was differentiated. `hold` keeps a tensor alive, and `release` gives it
 * to the caller's `tidy`.
 */
const hold = (x: Tensor): Tensor => tf.keep(stopGradient(x));
const release = (held: Tensor): Tensor => {
  const own = stopGradient(held);
  held.dispose();
  return own;
};
