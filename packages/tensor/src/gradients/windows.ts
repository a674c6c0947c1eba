import { tf, type Tensor } from '../tfjs.ts';
import { gradient, product, type Gradient } from './gradient.ts';
import { scatterRows } from './rows.ts';
import { sumTo } from './sum-to.ts';

/** One axis along which a window slides. Element o of the result reads the elements o·stride - before + t·distance, for t < taps. */
type Slide = { size: number; out: number; taps: number; stride: number; before: number; distance: number };

type Pool = { filterSize: number | number[]; strides: number | number[]; pad: never; dimRoundingMode?: never };

/** The spatial axes of average or max pooling over [B, (F,) H, W, C]. */
function slidesOfPool(shape: number[], { filterSize, strides, pad, dimRoundingMode }: Pool): Slide[] {
  const volume = shape.length === 5;
  const compute = (volume ? tf.backend_util.computePool3DInfo : tf.backend_util.computePool2DInfo) as (...args: unknown[]) => unknown;
  return slidesOf(compute(shape, filterSize, strides, 1, pad, dimRoundingMode), volume);
}

function slidesOf(computed: unknown, volume: boolean): Slide[] {
  const info = computed as Record<string, number> & { padInfo: Record<string, number> };
  const axes = [...(volume ? [['Depth', 'front']] : []), ['Height', 'top'], ['Width', 'left']] as [string, string][];
  return axes.map(([axis, side]) => ({
    size: info[`in${axis}`]!,
    out: info[`out${axis}`]!,
    taps: info[`filter${axis}`]!,
    stride: info[`stride${axis}`]!,
    before: info.padInfo[side]!,
    distance: info[`dilation${axis}`]!,
  }));
}

/** All pairs (element of the result, element that it reads), without those in the padding. */
function pairs({ size, out, taps, stride, before, distance }: Slide): { owner: number[]; place: number[]; counts: number[] } {
  const [owner, place, counts]: number[][] = [[], [], Array.from({ length: out }, () => 0)];
  for (let o = 0; o < out; o++)
    for (let t = 0; t < taps; t++) {
      const at = o * stride - before + t * distance;
      if (at < 0 || at >= size) continue;
      owner!.push(o);
      place!.push(at);
      counts![o]!++;
    }
  return { owner: owner!, place: place!, counts: counts! };
}

/**
 * Divides each element of dy equally between the elements of its window, one axis after another. Padding is not counted, as in the forward
 * pass.
 */
function ofAverage(dy: Tensor, slides: Slide[]): Tensor {
  return slides.reduce((dx, slide, i) => {
    const { owner, place, counts } = pairs(slide);
    const share = tf.tensor(
      counts.map((count) => 1 / Math.max(1, count)),
      [slide.out, ...dx.shape.slice(i + 2).map(() => 1)],
    );
    return scatterRows(tf.gather(tf.mul(dx, share), tf.tensor1d(owner, 'int32'), i + 1), place, i + 1, slide.size);
  }, dy);
}

/** The flat positions that each window reads, [windows · taps]. Padding has the position `outside`, the number of positions. */
function windowPlaces(slides: Slide[]): { places: number[]; windows: number; taps: number; outside: number } {
  const [windows, taps, outside] = [
    product(slides.map((s) => s.out)),
    product(slides.map((s) => s.taps)),
    product(slides.map((s) => s.size)),
  ];
  const digits = (flat: number, bases: number[]): number[] => {
    const out: number[] = [];
    for (const base of [...bases].reverse()) {
      out.unshift(flat % base);
      flat = Math.floor(flat / base);
    }
    return out;
  };
  const outs = slides.map((s) => s.out);
  const filter = slides.map((s) => s.taps);
  const offsets = Array.from({ length: taps }, (_, t) => digits(t, filter));
  const places = Array.from({ length: windows }, (_, o) => digits(o, outs)).flatMap((window) =>
    offsets.map((offset) =>
      slides.reduce((flat, s, i) => {
        const at = window[i]! * s.stride - s.before + offset[i]! * s.distance;
        return flat < 0 || at < 0 || at >= s.size ? -1 : flat * s.size + at;
      }, 0),
    ),
  );
  return { places: places.map((at) => (at < 0 ? outside : at)), windows, taps, outside };
}

/**
 * For the maximum over each window of x [B, …, C] (plus `added` [taps, C], if given): how much of dy each element of each window gets, and
 * the same added up per element of x. Equal elements get equal shares.
 */
function ofLargest(dy: Tensor, x: Tensor, slides: Slide[], added?: Tensor): { share: Tensor; toInput: () => Tensor } {
  const { places, windows, taps, outside } = windowPlaces(slides);
  const [B, C] = [x.shape[0]!, x.shape.at(-1)!];
  const rows = tf.concat([tf.reshape(x, [B, outside, C]), tf.fill([B, 1, C], -Infinity)], 1);
  const seen = tf.reshape(tf.gather(rows, tf.tensor1d(places, 'int32'), 1), [B, windows, taps, C]);
  const sums = added === undefined ? seen : tf.add(seen, added);
  const inside = tf.tensor(
    places.map((at) => Number(at < outside)),
    [windows, taps, 1],
  );
  const ties = tf.mul(tf.cast(tf.equal(sums, tf.max(sums, 2, true)), 'float32'), inside);
  const share = tf.mul(ties, tf.div(tf.reshape(dy, [B, windows, 1, C]), tf.sum(ties, 2, true))); // -> [B, windows, taps, C]
  const toInput = (): Tensor => {
    const summed = scatterRows(tf.reshape(share, [B, windows * taps, C]), places, 1, outside + 1);
    return tf.reshape(tf.slice(summed, [0, 0, 0], [B, outside, C]), x.shape);
  };
  return { share, toInput };
}

type Dilation = { strides: number | number[]; pad: 'valid' | 'same' | number; dilations: number | number[] };

/** How one axis of an image was resized: each element of the result is a weighted sum of elements of the image. */
type Samples = { place: number[]; weight: number[] }[];

type Resize = { alignCorners: boolean; halfPixelCenters: boolean; size: [number, number] };

function samples(from: number, to: number, linear: boolean, { alignCorners, halfPixelCenters }: Resize): Samples {
  const ratio = alignCorners && to > 1 ? (from - 1) / (to - 1) : from / to;
  const low: number[] = [];
  const high: number[] = [];
  const part: number[] = [];
  for (let o = 0; o < to; o++) {
    const at = halfPixelCenters ? ratio * (o + 0.5) - (linear ? 0.5 : 0) : ratio * o;
    const nearest = Math.min(from - 1, Math.max(0, alignCorners ? Math.round(at) : Math.floor(at)));
    low.push(linear ? Math.min(from - 1, Math.max(0, Math.floor(at))) : nearest);
    high.push(Math.min(from - 1, Math.max(0, Math.ceil(at))));
    part.push(Math.max(0, at - Math.floor(Math.max(0, at))));
  }
  return linear
    ? [
        { place: low, weight: part.map((w) => 1 - w) },
        { place: high, weight: part },
      ]
    : [{ place: low, weight: low.map(() => 1) }];
}

/**
 * The transpose of resizing, one axis after another: each element of dy is added, with its weight, to the elements from which it was made.
 */
function ofResize(dy: Tensor, shape: readonly number[], linear: boolean, attributes: Resize): Tensor {
  return [1, 2].reduce((dx, axis) => {
    const parts = samples(shape[axis]!, dx.shape[axis]!, linear, attributes);
    const weighted = parts.map(({ weight }) =>
      linear ? tf.mul(dx, tf.tensor(weight, [weight.length, ...dx.shape.slice(axis + 1).map(() => 1)])) : dx,
    );
    const places = parts.flatMap(({ place }) => place);
    return scatterRows(weighted.length === 1 ? weighted[0]! : tf.concat(weighted, axis), places, axis, shape[axis]!);
  }, dy);
}

/** Derivatives of operators on neighbourhoods: pooling, dilation, resizing. */
export const windows = (): Gradient[] => [
  ...['AvgPool', 'AvgPool3D'].map((kernel) =>
    gradient(kernel, ['x'], (dy, [x], attributes: Pool) => ({ x: () => ofAverage(dy, slidesOfPool(x!.shape, attributes)) })),
  ),
  ...['MaxPool', 'MaxPool3D'].map((kernel) =>
    gradient(kernel, ['x'], (dy, [x], attributes: Pool) => ({ x: () => ofLargest(dy, x!, slidesOfPool(x!.shape, attributes)).toInput() })),
  ),
  gradient('Dilation2D', ['x', 'filter'], (dy, [x, filter], { strides, pad, dilations }: Dilation) => {
    const computed = tf.backend_util.computeDilation2DInfo(
      x!.shape as never,
      filter!.shape as never,
      strides as never,
      pad,
      'NHWC',
      dilations as never,
    );
    const [h, w, C] = filter!.shape as [number, number, number];
    const largest = (): ReturnType<typeof ofLargest> => ofLargest(dy, x!, slidesOf(computed, false), tf.reshape(filter!, [h * w, C]));
    return {
      x: () => largest().toInput(),
      filter: () => tf.reshape(sumTo(largest().share, [h * w, C]), filter!.shape),
    };
  }),
  gradient('ResizeBilinear', ['images'], (dy, [images], attributes: Resize) => ({
    images: () => ofResize(dy, images!.shape, true, attributes),
  })),
  gradient('ResizeNearestNeighbor', ['images'], (dy, [images], attributes: Resize) => ({
    images: () => ofResize(dy, images!.shape, false, attributes),
  })),
];
