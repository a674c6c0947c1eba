import { tf, type Tensor } from '../tfjs.ts';
import { axesOf, gradient, product, withOnes, type Gradient } from './gradient.ts';

/**
 * The derivative of a maximum or minimum. If several elements are equal to it, they get equal shares. So if all of them move by the same
 * amount, the maximum does too.
 */
function ofExtreme(dy: Tensor, x: Tensor, y: Tensor, axes: number[]): Tensor {
  const kept = withOnes(x.shape, axes);
  const ties = tf.cast(tf.equal(x, tf.reshape(y, kept)), 'float32');
  return tf.mul(ties, tf.div(tf.reshape(dy, kept), tf.sum(ties, axes, true)));
}

/** For each element, the product of all others. There is no division, so zeros need no special case. */
function ofProduct(dy: Tensor, x: Tensor, axes: number[]): Tensor {
  const others = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
  const order = [...others, ...axes];
  const back = order.map((_, i) => order.indexOf(i));
  const flat = tf.reshape(tf.transpose(x, order), [...others.map((i) => x.shape[i]!), product(axes.map((i) => x.shape[i]!))]);
  const last = flat.rank - 1;
  const rest = tf.mul(tf.cumprod(flat, last, true, false), tf.cumprod(flat, last, true, true));
  const spread = tf.mul(rest, tf.reshape(dy, [...others.map((i) => x.shape[i]!), 1]));
  return tf.transpose(
    tf.reshape(
      spread,
      order.map((i) => x.shape[i]!),
    ),
    back,
  );
}

/** Moves the elements of the last axis `by` positions to the front, and fills the end with 0. */
function ahead(x: Tensor, by: number): Tensor {
  const n = x.shape.at(-1)!;
  if (by >= n) return tf.zerosLike(x);
  const lead = x.shape.slice(0, -1);
  const moved = tf.slice(x, [...lead.map(() => 0), by], [...lead, n - by]);
  return tf.pad(moved, [...lead.map((): [number, number] => [0, 0]), [0, by]]);
}

/**
 * The derivative of cumulative products along the last axis, y_i = Π_{j≤i} x_j: dx_k = (Π_{j<k} x_j)·s_k with s_k = dy_k + x_{k+1}·s_{k+1}.
 * The sums s are computed by doubling: repeat (g, s) ← (g·g', s + g·s') ⌈log₂ n⌉ times. Here g' and s' are g and s, moved by the number of
 * terms that they contain. There is no division, so zeros need no special case.
 */
function ofRunningProduct(dy: Tensor, x: Tensor): Tensor {
  const n = x.shape.at(-1)!;
  let [gain, sum] = [ahead(x, 1), dy];
  for (let done = 1; done < n; done *= 2) {
    sum = tf.add(sum, tf.mul(gain, ahead(sum, done)));
    gain = tf.mul(gain, ahead(gain, done));
  }
  return tf.mul(tf.cumprod(x, x.rank - 1, true, false), sum);
}

type Scan = { axis: number; exclusive: boolean; reverse: boolean };

/** Like `ofRunningProduct`, but for any axis, from either end, inclusive or exclusive. */
function ofCumprod(dy: Tensor, x: Tensor, { axis, exclusive, reverse }: Scan): Tensor {
  const at = axesOf(axis, x.rank)[0]!;
  const order = x.shape.map((_, i) => (i === at ? x.rank - 1 : i === x.rank - 1 ? at : i));
  const turn = (t: Tensor): Tensor => (at === x.rank - 1 ? t : tf.transpose(t, order));
  const flip = (t: Tensor): Tensor => (reverse ? tf.reverse(t, -1) : t);
  // Element i of an exclusive product is element i - 1 of the inclusive product. So its derivative is moved by one.
  const [cotangent, values] = [flip(turn(dy)), flip(turn(x))];
  return turn(flip(ofRunningProduct(exclusive ? ahead(cotangent, 1) : cotangent, values)));
}

/** Derivatives of maximum, minimum, products, and cumulative sums and products. */
export const reductions = (): Gradient[] => [
  gradient(
    'Max',
    ['x'],
    (dy, [x, y], { reductionIndices }: { reductionIndices: number[] }) => ({
      x: () => ofExtreme(dy, x!, y!, axesOf(reductionIndices, x!.rank)),
    }),
    { output: true },
  ),
  gradient('Min', ['x'], (dy, [x, y], { axis }: { axis: number[] }) => ({ x: () => ofExtreme(dy, x!, y!, axesOf(axis, x!.rank)) }), {
    output: true,
  }),
  gradient('Prod', ['x'], (dy, [x], { axis }: { axis?: number | number[] }) => ({ x: () => ofProduct(dy, x!, axesOf(axis, x!.rank)) })),
  gradient('Cumsum', ['x'], (dy, _, { axis, exclusive, reverse }: Scan) => ({
    x: () => tf.cumsum(dy, axesOf(axis, dy.rank)[0]!, exclusive, !reverse),
  })),
  gradient('Cumprod', ['x'], (dy, [x], scan: Scan) => ({ x: () => ofCumprod(dy, x!, scan) })),
];
