import { checkNumber, dims, type Tensor, tf } from '@atelier/tensor';

/**
 * Row of the bias table for every pair of tokens of a window of `rows` × `columns`: [n, n] flattened, query first, n = rows·columns.
 *
 * (i_q - i_k + rows - 1)·(2·columns - 1) + (j_q - j_k + columns - 1): query minus key (microsoft/Swin-Transformer swin_transformer.py:101).
 */
export function relativePositionIndex(rows: number, columns: number): Int32Array {
  checkNumber('relativePositionIndex: rows', rows, { integer: true, min: 1 });
  checkNumber('relativePositionIndex: columns', columns, { integer: true, min: 1 });
  const n = rows * columns;
  const index = new Int32Array(n * n);
  for (let q = 0; q < n; q++) {
    for (let k = 0; k < n; k++) {
      const di = Math.floor(q / columns) - Math.floor(k / columns) + rows - 1;
      const dj = (q % columns) - (k % columns) + columns - 1;
      index[q * n + k] = di * (2 * columns - 1) + dj;
    }
  }
  return index;
}

/** Rows of the bias table of a window: (2·rows - 1)(2·columns - 1). */
export const relativePositions = (rows: number, columns: number): number => (2 * rows - 1) * (2 * columns - 1);

/** The bias of the logits of each head: table [(2·rows - 1)(2·columns - 1), a] -> [a, n, n]. */
export function relativePositionBias(table: Tensor, rows: number, columns: number): Tensor {
  const { a } = dims<'a'>(table, 'positions a', 'relativePositionBias: table', { positions: relativePositions(rows, columns) });
  const n = rows * columns;
  const picked = tf.gather(table, tf.tensor1d(relativePositionIndex(rows, columns), 'int32')); // -> [n·n, a]
  return tf.reshape(tf.transpose(picked, [1, 0]), [a, n, n]);
}
