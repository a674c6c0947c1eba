import { checkNumber, dims, type Rng, type Tensor, tf } from '@atelier/tensor';
import { silu } from './activation.ts';
import { linear, type LinearParams } from './linear.ts';

export type TimestepEmbeddingOptions = {
  /** Longest period divided by 2π; default 10000. */
  maxPeriod?: number;
  /** Which half comes first: cosines (DiT, default) or sines (DDPM++). */
  first?: 'cos' | 'sin';
  /** Whether the last frequency is 1/maxPeriod (divisor half - 1, as in DDPM++). If not, it is one step before that (divisor half, as in DiT; the default). */
  endpoint?: boolean;
  /** The angles are multiplied by it, after the product of time and frequency: the order of rounding decides the last digits of large angles (MAGI-1: 1000). */
  angleScale?: number;
};

/**
 * Frequency features of times: t [B] float32 -> [B, dim].
 *
 * [cos(tν_k)] ‖ [sin(tν_k)], ν_k = maxPeriod^(-k/half), k = 0 … half-1, half = ⌊dim/2⌋; an odd dim gets a zero at the end
 * (facebookresearch/DiT models.py:41). In float32, times near 1000 give an error of about 3e-5.
 */
export function timestepEmbedding(t: Tensor, dim: number, options: TimestepEmbeddingOptions = {}): Tensor {
  const { B } = dims<'B'>(t, 'B', 'timestepEmbedding: t');
  const { maxPeriod = 10000, first = 'cos', endpoint = false, angleScale = 1 } = options;
  checkNumber('timestepEmbedding: maxPeriod', maxPeriod, { above: 0 });
  checkNumber('timestepEmbedding: dim', dim, { integer: true, min: endpoint ? 4 : 2 });
  if (first !== 'cos' && first !== 'sin') throw new Error(`timestepEmbedding: first: wanted 'cos' or 'sin', got ${String(first)}`);
  const half = Math.floor(dim / 2);
  const frequencies = Float32Array.from({ length: half }, (_, k) => Math.exp((-Math.log(maxPeriod) * k) / (endpoint ? half - 1 : half)));
  checkNumber('timestepEmbedding: angleScale', angleScale);
  const products = tf.mul(tf.reshape(tf.cast(t, 'float32'), [B, 1]), tf.tensor2d(frequencies, [1, half])); // -> [B, half]
  const angles = angleScale === 1 ? products : tf.mul(products, angleScale);
  const halves = first === 'cos' ? [tf.cos(angles), tf.sin(angles)] : [tf.sin(angles), tf.cos(angles)];
  return tf.concat(dim % 2 === 1 ? [...halves, tf.zeros([B, 1])] : halves, 1);
}

/** The official timestep embedder: linear, SiLU, linear (the SiLU has index 1, so the linear layers are `mlp.0` and `mlp.2`). */
export type TimestepEmbedderParams = { mlp: { 0: LinearParams; 2: LinearParams } };

/** Vectors for times t [B]: t is multiplied by `timeScale`, then come frequency features (as wide as mlp.0 needs), linear, SiLU, linear -> [B, D]. */
export function embedTimestep(
  p: TimestepEmbedderParams,
  t: Tensor,
  options: TimestepEmbeddingOptions & { timeScale?: number } = {},
): Tensor {
  const { timeScale = 1, ...frequencies } = options;
  checkNumber('embedTimestep: timeScale', timeScale);
  const { width } = dims<'width'>(p.mlp[0].weight, 'D width', 'embedTimestep: mlp.0.weight');
  const features = timestepEmbedding(timeScale === 1 ? t : tf.mul(t, timeScale), width, frequencies);
  return linear(p.mlp[2], silu(linear(p.mlp[0], features)));
}

/** Rows of a class table: y [B] int32 in [0, rows), weight [rows, D] -> [B, D]. Labels are not checked here: the engine throws if one lies outside the table. */
export function embedClass(p: { weight: Tensor }, y: Tensor): Tensor {
  dims(p.weight, 'rows D', 'embedClass: weight');
  dims(y, 'B', 'embedClass: y');
  if (y.dtype !== 'int32') throw new Error(`embedClass: y: wanted int32 labels, got ${y.dtype}`);
  return tf.gather(p.weight, y);
}

/**
 * Labels y [B] int32, in which dropped labels are replaced by the null class (the row after the last class).
 *
 * @param dropped [B] bool, true if the label is dropped (`drawDroppedLabels`); or [B] int32, 1 if the label is dropped (the official
 *   `force_drop_ids`)
 */
export function dropLabels(y: Tensor, dropped: Tensor, numClasses: number): Tensor {
  const { B } = dims<'B'>(y, 'B', 'dropLabels: y');
  dims(dropped, 'B', 'dropLabels: dropped', { B });
  checkNumber('dropLabels: numClasses', numClasses, { integer: true, min: 1 });
  if (y.dtype !== 'int32') throw new Error(`dropLabels: y: wanted int32 labels, got ${y.dtype}`);
  if (dropped.dtype !== 'bool' && dropped.dtype !== 'int32')
    throw new Error(`dropLabels: dropped: wanted bool or int32 ids, got ${dropped.dtype}`);
  return tf.tidy(() => {
    const gone = dropped.dtype === 'bool' ? dropped : tf.equal(dropped, tf.scalar(1, 'int32'));
    return tf.where(gone, tf.fill([B], numClasses, 'int32'), y);
  });
}

/** Draws which of n labels a training step drops, each with the given probability (0.1 in DiT): [n] bool. */
export function drawDroppedLabels(rng: Rng, n: number, probability: number): Tensor {
  checkNumber('drawDroppedLabels: probability', probability, { min: 0, max: 1 });
  return tf.tensor1d(
    Array.from(rng.uniforms(n), (u) => u < probability),
    'bool',
  );
}
