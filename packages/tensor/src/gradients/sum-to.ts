import { tf, type Tensor } from '../tfjs.ts';

/** Sums `x` to `shape`, over the axes along which `shape` was broadcast to `x.shape`. This is the transpose of broadcasting. */
export function sumTo(x: Tensor, shape: readonly number[]): Tensor {
  const lead = x.rank - shape.length;
  const axes = x.shape.flatMap((size, axis) => (axis < lead || (shape[axis - lead] === 1 && size !== 1) ? [axis] : []));
  const summed = axes.length === 0 ? x : tf.sum(x, axes);
  return summed.shape.join() === shape.join() ? summed : tf.reshape(summed, [...shape]);
}
