import { conditionalVelocity, interpolate } from '@atelier/diffusion';
import { checkLike, dims, tf, type Tensor } from '@atelier/tensor';

/** Clips with a time for every chunk: M chunks of c frames, F = M·c. */
export type ChunkBatch = {
  /** Data x¹ [B, F, H, W, C]. */
  x: Tensor;
  /** Noise x⁰ [B, F, H, W, C]. */
  e: Tensor;
  /** Time of every chunk [B, M], 0 noise … 1 data. */
  t: Tensor;
  /** [B, M] float32: 1 for chunks that are context only, near t = 1. */
  clean: Tensor;
  /** [B, M] float32: 1 for chunks with a loss; all that are not clean if absent. */
  counted?: Tensor;
  /** [B, F] float32: 1 for given frames inside chunks that are denoised (image to video). They have no noise and no loss. */
  given?: Tensor;
};

/** Any network: noisy clips z [B, F, H, W, C] and times [B, M] -> velocities like z. */
export type ChunkNetwork = (z: Tensor, t: Tensor) => Tensor;

export type ChunkLoss = {
  /** Mean over all chunks with a loss, scalar. */
  loss: Tensor;
  /** Mean squared error of every chunk [B, M], also of those without a loss. */
  perChunk: Tensor;
  /** The noisy clips that the network read, and its velocities, like x. */
  z: Tensor;
  v: Tensor;
};

/** Clips at the times of their chunks, (1 - t_i)·x_i⁰ + t_i·x_i¹ (Eq. 1, arXiv 2505.13211) [B, F, H, W, C]; given frames stay as they are. */
export function noisyClips({ x, e, t, given }: Pick<ChunkBatch, 'x' | 'e' | 't' | 'given'>): Tensor {
  const { B, F } = dims<'B' | 'F'>(x, 'B F H W C', 'noisyClips: x');
  checkLike(e, x, 'noisyClips: e');
  const { M } = dims<'M'>(t, 'B M', 'noisyClips: t', { B });
  if (F % M !== 0) throw new Error(`noisyClips: x: wanted a number of frames that the ${M} chunks of t divide, got ${F}`);
  const chunks = (video: Tensor): Tensor => tf.reshape(video, [B * M, F / M, ...video.shape.slice(2)]);
  // In @atelier/diffusion, t = 0 is data and t = 1 is noise. So noise and data change places in the arguments.
  const z = tf.reshape(interpolate(chunks(e), chunks(x), tf.reshape(t, [B * M])), x.shape);
  if (given === undefined) return z;
  dims(given, 'B F', 'noisyClips: given', { B, F });
  const shown = tf.reshape(given, [B, F, 1, 1, 1]);
  return tf.add(tf.mul(shown, x), tf.mul(tf.sub(1, shown), z));
}

/**
 * The loss of block-causal training: the mean squared error of the velocity against x¹ - x⁰, over the chunks with a loss (Eq. 3). The network sees
 * all chunks of a clip in one pass. The network itself must make sure that chunk i sees only chunks j <= i.
 */
export function chunkLoss(network: ChunkNetwork, batch: ChunkBatch): ChunkLoss {
  const z = noisyClips(batch);
  const [B, F] = z.shape as [number, number];
  const { M } = dims<'M'>(batch.clean, 'B M', 'chunkLoss: clean', { B, M: batch.t.shape[1]! });
  const v = network(z, batch.t);
  checkLike(v, z, 'chunkLoss: output of the network');
  const error = tf.square(tf.sub(v, conditionalVelocity(batch.e, batch.x)));
  const perFrame = tf.mean(tf.reshape(error, [B, F, -1]), 2); // -> [B, F]
  const counted = batch.given === undefined ? tf.ones([B, F]) : tf.sub(1, batch.given);
  const inChunks = (x: Tensor): Tensor => tf.sum(tf.reshape(x, [B, M, F / M]), 2); // [B, F] -> [B, M]
  const frames = inChunks(counted);
  const perChunk = tf.div(inChunks(tf.mul(perFrame, counted)), tf.maximum(frames, 1));
  const weight = tf.mul(batch.counted ?? tf.sub(1, batch.clean), tf.cast(tf.greater(frames, 0), 'float32'));
  return { loss: tf.div(tf.sum(tf.mul(perChunk, weight)), tf.maximum(tf.sum(weight), 1)), perChunk, z, v };
}
