import { tf } from '@atelier/tensor';

/** Number of rows of the Gram matrix that are in memory at a time. */
const BLOCK_ROWS = 256;

/**
 * Visits the rows of the Gram matrix a·bᵀ of two sample sets [n, dim] and [m, dim], flattened: `visit` gets the index of a sample of a and its products [m]
 * with all samples of b, which are valid until it returns. The products come from the engine in float32.
 */
export async function forGramRows(
  a: Float32Array,
  b: Float32Array,
  dim: number,
  visit: (i: number, products: Float32Array) => void,
): Promise<void> {
  const [n, m] = [a.length / dim, b.length / dim];
  const right = tf.tensor2d(b, [m, dim]);
  try {
    for (let first = 0; first < n; first += BLOCK_ROWS) {
      const rows = Math.min(BLOCK_ROWS, n - first);
      const product = tf.tidy(() => tf.matMul(tf.tensor2d(a.subarray(first * dim, (first + rows) * dim), [rows, dim]), right, false, true));
      const gram = (await product.data()) as Float32Array;
      product.dispose();
      for (let i = 0; i < rows; i++) visit(first + i, gram.subarray(i * m, (i + 1) * m));
    }
  } finally {
    right.dispose();
  }
}
