import { checkNumber, closedForm, customGradient, dims, runFused, sumLast, type Tensor, tf } from '@atelier/tensor';

export type NormOptions = {
  /** Added to the variance (or mean square): 1e-6 in DiT, 1e-5 in Swin. */
  eps: number;
  /** Per-channel factor [D]. */
  weight?: Tensor;
  /** Per-channel offset [D]. */
  bias?: Tensor;
};

/** Layer norm over the last axis with the biased variance: (x - mean) / √(var + eps), then ·weight + bias where given. */
export function layerNorm(x: Tensor, options: NormOptions): Tensor {
  checkNorm(x, options, 'layerNorm');
  const { eps, weight, bias } = options;
  if (weight !== undefined && bias !== undefined) return affineLayerNorm(x, weight, bias, eps);
  return affine(normalize(x, eps, true), options);
}

/** Root-mean-square norm over the last axis: x / √(mean(x²) + eps), then ·weight + bias where given. */
export function rmsNorm(x: Tensor, options: NormOptions): Tensor {
  checkNorm(x, options, 'rmsNorm');
  return affine(normalize(x, options.eps, false), options);
}

/** Adaptive modulation x·(1 + scale) + shift; scale and shift broadcast against x, as [B, 1, D] against [B, T, D]. */
export function modulate(x: Tensor, shift: Tensor, scale: Tensor): Tensor {
  return tf.add(tf.mul(x, tf.add(scale, 1)), shift);
}

/** x̂ and 1/√(var + eps). */
function standardize(x: Tensor, eps: number, centered: boolean): { normal: Tensor; inverse: Tensor } {
  const fused = centered ? runFused('Standardize', { x }, { eps }) : null;
  if (fused !== null) return { normal: fused[0]!, inverse: fused[1]! };
  const centre = centered ? tf.sub(x, tf.mean(x, -1, true)) : x;
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centre), -1, true), eps));
  return { normal: tf.mul(centre, inverse), inverse };
}

/** J = (I - 11ᵀ/n - x̂x̂ᵀ/n)/s; without centring the middle term is absent. */
function pullback(dy: Tensor, x: Tensor, eps: number, centered: boolean): Tensor {
  const share = 1 / x.shape.at(-1)!;
  const { normal, inverse } = standardize(x, eps, centered);
  const along = tf.mul(normal, tf.mul(sumLast(tf.mul(normal, dy)), share));
  const rest = centered ? tf.sub(dy, tf.mul(sumLast(dy), share)) : dy;
  return tf.mul(inverse, tf.sub(rest, along));
}

function normalize(x: Tensor, eps: number, centered: boolean): Tensor {
  return closedForm(
    x,
    (input) => standardize(input, eps, centered).normal,
    (dy, input) => pullback(dy, input, eps, centered),
  );
}

function affine(x: Tensor, { weight, bias }: NormOptions): Tensor {
  const scaled = weight === undefined ? x : tf.mul(x, weight);
  return bias === undefined ? scaled : tf.add(scaled, bias);
}

/** y = x̂⊙w + b in one operator where the engine has it. Backward: dx = Jᵀ(dy⊙w), and over all rows dw = Σ dy⊙x̂, db = Σ dy. */
function affineLayerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  return customGradient([x, weight, bias], (input, w, b) => {
    const fused = runFused('LayerNorm', { x: input, weight: w, bias: b }, { eps });
    return {
      value: fused === null ? affine(standardize(input, eps, true).normal, { eps, weight: w, bias: b }) : fused[0]!,
      kept: [input, w],
      pullback: (dy, kept, factor) => [
        pullback(tf.mul(dy, factor), kept, eps, true),
        sumRows(tf.mul(dy, standardize(kept, eps, true).normal)),
        sumRows(dy),
      ],
    };
  });
}

/** [..., D] -> [D]. */
const sumRows = (x: Tensor): Tensor => tf.sum(tf.reshape(x, [-1, x.shape.at(-1)!]), 0);

function checkNorm(x: Tensor, { eps, weight, bias }: NormOptions, where: string): void {
  checkNumber(`${where}: eps`, eps, { min: 0 });
  if (x.rank === 0) throw new Error(`${where}: wanted a tensor with a last axis to normalize, got a scalar`);
  const width = { D: x.shape.at(-1)! };
  if (weight !== undefined) dims(weight, 'D', `${where}: weight`, width);
  if (bias !== undefined) dims(bias, 'D', `${where}: bias`, width);
}
