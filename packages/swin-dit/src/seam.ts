import { checkNumber, dims, type Tensor, tf } from '@atelier/tensor';

/**
 * How much an image jumps at the borders of windows: the mean squared difference of neighbouring pixel columns across the border of a window, divided by
 * that across the borders of patches inside a window. Images [N, H, W, C] -> scalar; about 1 if windows cannot be seen.
 *
 * @param sides in pixels; the window a multiple of the patch, the width a multiple of the window and at least two of them
 */
export function seamRatio(images: Tensor, { window, patch }: { window: number; patch: number }): Tensor {
  const { N, H, W, C } = dims<'N' | 'H' | 'W' | 'C'>(images, 'N H W C', 'seamRatio: images');
  checkNumber('seamRatio: patch', patch, { integer: true, min: 1 });
  checkNumber('seamRatio: window', window, { integer: true, min: 2 * patch });
  if (window % patch !== 0) throw new Error(`seamRatio: window: wanted a multiple of the patch side ${patch}, got ${window}`);
  if (W % window !== 0 || W === window)
    throw new Error(`seamRatio: images: wanted a width of two or more windows of ${window} pixels, got ${W}`);
  return tf.tidy(() => {
    const left = tf.slice(images, [0, 0, 0, 0], [N, H, W - 1, C]);
    const right = tf.slice(images, [0, 0, 1, 0], [N, H, W - 1, C]);
    const jumps = tf.mean(tf.square(tf.sub(right, left)), [0, 1, 3]); // -> [W - 1], between columns j and j + 1
    const borders = Array.from({ length: W - 1 }, (_, j) => j + 1).filter((column) => column % patch === 0);
    const meanAt = (columns: number[]): Tensor =>
      tf.mean(
        tf.gather(
          jumps,
          tf.tensor1d(
            columns.map((column) => column - 1),
            'int32',
          ),
        ),
      );
    const across = meanAt(borders.filter((column) => column % window === 0));
    const inside = meanAt(borders.filter((column) => column % window !== 0));
    return tf.div(across, inside);
  });
}
