import { tf, type Tensor } from '../tfjs.ts';
import { product } from './gradient.ts';

/**
 * The transpose of a gather. Adds the elements of `x` along an axis into `size` positions: element i is added to position `indices[i]`.
 * This is one scatter for any number of elements, and its own derivative is one gather.
 * @param indices [n] int32 in 0 … size - 1, where n is the size of the axis
 */
export function scatterRows(x: Tensor, indices: Tensor | readonly number[], axis: number, size: number): Tensor {
  const places = Array.isArray(indices) ? tf.tensor1d(indices as number[], 'int32') : (indices as Tensor);
  const [outer, n, inner] = [product(x.shape.slice(0, axis)), x.shape[axis]!, product(x.shape.slice(axis + 1))];
  const shape = x.shape.map((whole, i) => (i === axis ? size : whole));
  if (product(x.shape) === 0) return tf.zeros(shape);
  const rows =
    outer === 1 ? tf.reshape(x, [n, inner]) : tf.reshape(tf.transpose(tf.reshape(x, [outer, n, inner]), [1, 0, 2]), [n, outer * inner]);
  const summed = tf.scatterND(tf.reshape(places, [n, 1]), rows, [size, outer * inner]);
  return tf.reshape(outer === 1 ? summed : tf.transpose(tf.reshape(summed, [size, outer, inner]), [1, 0, 2]), shape);
}
