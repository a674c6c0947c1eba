import { checkNumber, dims, type Rng, type Tensor, tf } from '@atelier/tensor';
import { initTensor, type Init } from '../parameters/init.ts';

/** Weight [out, in] and bias [out] of a linear layer. */
export type LinearParams = { weight: Tensor; bias: Tensor };

/** x·Wᵀ + b on the last axis: [..., in] -> [..., out]. The weight is [out, in] as in PyTorch; the bias may be absent. */
export function linear(p: { weight: Tensor; bias?: Tensor }, x: Tensor): Tensor {
  const { out, width } = dims<'out' | 'width'>(p.weight, 'out width', 'linear: weight');
  if (x.rank === 0 || x.shape.at(-1) !== width) throw new Error(`linear: x: wanted shape [..., ${width}], got [${x.shape.join(', ')}]`);
  if (p.bias !== undefined) dims(p.bias, 'out', 'linear: bias', { out });
  const rows = x.rank === 2 ? x : tf.reshape(x, [-1, width]); // [..., in] -> [rows, in]
  const product = tf.matMul(rows, p.weight, false, true);
  const y = p.bias === undefined ? product : tf.add(product, p.bias);
  return x.rank === 2 ? y : tf.reshape(y, [...x.shape.slice(0, -1), out]); // [rows, out] -> [..., out]
}

/** New linear layer from `inputs` to `outputs`; the weight starts by `init` (default xavier), the bias at zero. */
export function initLinear(rng: Rng, inputs: number, outputs: number, options: { init?: Init } = {}): LinearParams {
  checkNumber('initLinear: inputs', inputs, { integer: true, min: 1 });
  checkNumber('initLinear: outputs', outputs, { integer: true, min: 1 });
  return { weight: initTensor(rng.child('weight'), [outputs, inputs], options.init ?? 'xavier'), bias: tf.zeros([outputs]) };
}
