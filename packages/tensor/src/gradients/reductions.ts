import { tf, type Tensor } from '../tfjs.ts';
import { axesOf, gradient, product, withOnes, type Gradient } from './gradient.ts';

/** For ties, the elements that equal the extreme share its derivative equally. If all of them move by the same amount, the extreme moves by it too. */
function ofExtreme(dy: Tensor, x: Tensor, y: Tensor, axes: number[]): Tensor {
  const kept = withOnes(x.shape, axes);
  const ties = tf.cast(tf.equal(x, tf.reshape(y, kept)), 'float32');
  return tf.mul(ties, tf.div(tf.reshape(dy, kept), tf.sum(ties, axes, true)));
}

/** For each element, the product of all others. It uses no division, so zeros need no special case. */
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

/** Entries `by` places further along the last axis, 0 behind the end. */
function ahead(x: Tensor, by: number): Tensor {
  const n = x.shape.at(-1)!;
  if (by >= n) return tf.zerosLike(x);
  const lead = x.shape.slice(0, -1);
  const moved = tf.slice(x, [...lead.map(() => 0), by], [...lead, n - by]);
  return tf.pad(moved, [...lead.map((): [number, number] => [0, 0]), [0, by]]);
}

/**
 * The derivative of running products along the last axis, y_i = Π_{j≤i} x_j: dx_k = (Π_{j<k} x_j)·s_k, s_k = dy_k + x_{k+1}·s_{k+1}. The sums s are made by
 * doubling: ⌈log₂ n⌉ times (g, s) ← (g·g', s + g·s'), g' and s' as many places ahead as there are terms in them. There is no division, so zeros need no special case.
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

/** As `ofRunningProduct`, for any axis, from either end, inclusive or exclusive. */
function ofCumprod(dy: Tensor, x: Tensor, { axis, exclusive, reverse }: Scan): Tensor {
  const at = axesOf(axis, x.rank)[0]!;
  const order = x.shape.map((_, i) => (i === at ? x.rank - 1 : i === x.rank - 1 ? at : i));
  const turn = (t: Tensor): Tensor => (at === x.rank - 1 ? t : tf.transpose(t, order));
  const flip = (t: Tensor): Tensor => (reverse ? tf.reverse(t, -1) : t);
  // An exclusive product is the inclusive product of one step before, so its derivative belongs there.
  const [cotangent, values] = [flip(turn(dy)), flip(turn(x))];
  return turn(flip(ofRunningProduct(exclusive ? ahead(cotangent, 1) : cotangent, values)));
}

/** Extremes, products and running sums and products. */
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
