import { geluTanh } from '../gelu.ts';
import type { KernelTable } from '../kernel.ts';
import { tf } from '../tf.ts';

/**
 * Kernels that TensorFlow.js does not have: one ONNX Runtime operator in place of a chain of operators. Layers look for them by name. On
 * other engines they use the chain.
 */
export const fused: KernelTable = {
  /** x standardized over its last axis, and 1/√(var + eps): [..., D] -> [..., D], [..., 1]. */
  Standardize: (k) => {
    const g = k.graph;
    const x = k.node('x');
    const reduced = [...x.shape.slice(0, -1), 1];
    const ones = g.constant(new Float32Array(x.shape.at(-1)!).fill(1), [x.shape.at(-1)!], 'float32');
    const [normal, , inverse] = g.addMany('LayerNormalization', [x, ones], { axis: -1, epsilon: { float: k.attribute<number>('eps') } }, [
      { shape: x.shape, dtype: 'float32' },
      { shape: reduced, dtype: 'float32' },
      { shape: reduced, dtype: 'float32' },
    ]);
    return [normal!, inverse!];
  },
  /** x standardized over its last axis, times weight [D], plus bias [D]. */
  LayerNorm: (k) => {
    const [x, weight, bias] = [k.node('x'), k.node('weight'), k.node('bias')];
    const attributes = { axis: -1, epsilon: { float: k.attribute<number>('eps') } };
    return k.graph.add('LayerNormalization', [x, weight, bias], attributes, x.shape, 'float32');
  },
  /**
   * σ(x) with an absolute error of 1e-7, as one operator. `Sigmoid` takes four operators, but is exact to the last digits also where σ(x)
   * is small. GELU uses this one for its gate.
   */
  FastSigmoid: (k) => k.graph.unary('Sigmoid', k.node('x')),
  /** The tanh form of GELU. A compiled graph computes it from the gate of its derivative if there is one (`gelu.ts`). */
  GeluTanh: (k) => geluTanh(k.graph, k.node('x')),
  /** The largest number along the last axis, [..., D] -> [..., 1], for rows without NaN: `Max` makes sure that a NaN in a row is its result. */
  RowMax: (k) => k.graph.reduce('ReduceMax', k.node('x'), [k.node('x').shape.length - 1], true),
  /** x Φ(x), where Φ is the cumulative distribution function of the standard normal. */
  GeluErf: (k) => k.graph.unary('Gelu', k.node('x')),
};

type Tensor = tf.Tensor;

/**
 * The derivatives of `FastSigmoid` and `Standardize`, built from differentiable operators, so that second derivatives work. The first is y
 * (1 - y). For the second let n = (x - mean)·i and i = (var + eps)^-½, over N elements. Then dx = i·(dn - mean(dn) - n·mean(n·dn)) -
 * di·i²·n/N.
 */
export function registerFusedGradients(): void {
  tf.registerGradient({
    kernelName: 'FastSigmoid',
    outputsToSave: [true],
    gradFunc: (dy, saved) => ({ x: () => tf.mul(dy as Tensor, tf.mul(saved[0] as Tensor, tf.sub(1, saved[0] as Tensor))) }),
  });
  tf.registerGradient({
    kernelName: 'Standardize',
    outputsToSave: [true, true],
    gradFunc: (dy, saved) => {
      const [dNormal, dInverse] = dy as unknown as [Tensor, Tensor];
      const [normal, inverse] = saved as [Tensor, Tensor];
      const mean = (v: Tensor): Tensor => tf.mean(v, -1, true);
      const x = (): Tensor => {
        const along = tf.mul(normal, mean(tf.mul(normal, dNormal)));
        const fromNormal = tf.mul(inverse, tf.sub(tf.sub(dNormal, mean(dNormal)), along));
        return tf.sub(fromNormal, tf.mul(normal, tf.mul(tf.div(dInverse, normal.shape.at(-1)!), tf.square(inverse))));
      };
      return { x };
    },
  });
}
