import { tf, type Rng, type Tensor } from '@atelier/tensor';

/** Weights of the random feature network, on the host. */
export type ConvFeatures = {
  channels: number;
  /** [3, 3, C, 32] and [3, 3, 32, 48], height, width, in, out. */
  kernel1: Float32Array;
  kernel2: Float32Array;
};

const WIDTH1 = 32;
const WIDTH2 = 48;
/** Number of features of an image: mean- and max-pool of the second layer. */
export const CONV_FEATURES = 2 * WIDTH2;
const BATCH = 256;

/**
 * Draws the weights of a fixed random feature network for images of `channels` channels: He-normal kernels (variance 2 / fan-in), no biases.
 *
 * Distances in its features react to edges and textures, which pixel distances do not, and need no trained network. Compare only features of equal weights.
 */
export function initConvFeatures(rng: Rng, channels: number): ConvFeatures {
  if (!Number.isInteger(channels) || channels < 1)
    throw new Error(`initConvFeatures: wanted channels to be a whole number of at least 1, got ${channels}`);
  const kernel = (fanIn: number, out: number): Float32Array => rng.normals(fanIn * out).map((e) => e * Math.sqrt(2 / fanIn));
  return { channels, kernel1: kernel(9 * channels, WIDTH1), kernel2: kernel(9 * WIDTH1, WIDTH2) };
}

/**
 * The 96 features of each image: 3×3 convolution C -> 32, ReLU, 3×3 convolution of stride 2 32 -> 48, ReLU, then mean and maximum over the
 * image (zero padding, stride 2 halves the size rounded up).
 *
 * @param images [N, H, W, C] flattened, float32 in [-1, 1].
 * @returns [N, 96] flattened, the 48 means before the 48 maxima.
 * @throws Error if the length is not a multiple of the size of an image.
 */
export async function convFeatures(weights: ConvFeatures, images: Float32Array, height: number, width: number): Promise<Float32Array> {
  for (const [name, size] of Object.entries({ height, width })) {
    if (!Number.isInteger(size) || size < 1)
      throw new Error(`convFeatures: wanted ${name} to be a whole number of at least 1, got ${size}`);
  }
  const { channels } = weights;
  const size = height * width * channels;
  if (images.length === 0 || images.length % size !== 0) {
    throw new Error(`convFeatures: wanted images [N, ${height}, ${width}, ${channels}], got ${images.length} numbers`);
  }
  const count = images.length / size;
  const out = new Float32Array(count * CONV_FEATURES);
  const kernel1 = tf.tensor4d(weights.kernel1, [3, 3, channels, WIDTH1]);
  const kernel2 = tf.tensor4d(weights.kernel2, [3, 3, WIDTH1, WIDTH2]);
  try {
    for (let first = 0; first < count; first += BATCH) {
      const n = Math.min(BATCH, count - first);
      const features = tf.tidy((): Tensor => {
        const x = tf.tensor4d(images.subarray(first * size, (first + n) * size), [n, height, width, channels]);
        const hidden = tf.relu(tf.conv2d(x, kernel1, 1, 'same')); // [n, H, W, 32]
        const top = tf.relu(tf.conv2d(hidden, kernel2, 2, 'same')); // [n, H/2, W/2, 48]
        return tf.concat([tf.mean(top, [1, 2]), tf.max(top, [1, 2])], 1); // [n, 96]
      });
      out.set(await features.data(), first * CONV_FEATURES);
      features.dispose();
    }
  } finally {
    kernel1.dispose();
    kernel2.dispose();
  }
  return out;
}
