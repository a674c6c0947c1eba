import { tf } from '../src/tf.ts';
import type { Argument, Tensor } from './evaluate.ts';

/** Right values in float64, and the unit of the error of each: the sum of the absolute values that are added. */
export interface Reference {
  exact: Float64Array;
  scale: Float64Array;
}

/** Adds a value to the result with this index. */
export type Adder = (to: number, value: number) => void;

/** The reference of a kernel that adds up: `list` gives every term of every result. */
export function ofTerms(size: number, list: (add: Adder) => void): Reference {
  const [exact, scale] = [new Float64Array(size), new Float64Array(size)];
  list((to, value) => {
    exact[to]! += value;
    scale[to]! += Math.abs(value);
  });
  return { exact, scale };
}

/** The reference of a kernel that TensorFlow.js's `cpu` computes in float64 and rounds once. The unit is that of the largest input. */
export async function ofCpu(f: (...xs: Tensor[]) => Tensor, args: readonly Argument[]): Promise<Reference> {
  const before = tf.getBackend();
  await tf.setBackend('cpu');
  const exact = Float64Array.from(tf.tidy(() => f(...args.map(({ data, shape }) => tf.tensor(data, [...shape], 'float32'))).dataSync()));
  await tf.setBackend(before);
  const largest = args.reduce((most, { data }) => data.reduce((a, b) => Math.max(a, Math.abs(b)), most), 0);
  return { exact, scale: exact.map((value) => Math.max(Math.abs(value), largest)) };
}

/** A convolution over any number of axes, channels last. Padding before the first element, as a number per axis. */
export interface Geometry {
  x: number[];
  filter: number[];
  strides: number;
  pads: number[];
  output: number[];
  depthwise?: boolean;
}

/** Calls `visit` for each triple of indices (in x, in the filter, in the result) that a convolution multiplies. x is [B, …, C], the filter [size…, C, O], depthwise [size…, C, M]. */
export function triples(
  { x, filter, strides, pads, output, depthwise = false }: Geometry,
  visit: (x: number, w: number, y: number) => void,
): void {
  const axes = pads.length;
  const [channels, outputs] = [filter[axes]!, filter[axes + 1]!];
  const product = (list: readonly number[]): number => list.reduce((a, b) => a * b, 1);
  const places = product(output);
  const taps = product(filter.slice(0, axes));
  for (let b = 0; b < x[0]!; b++) {
    for (let place = 0; place < places; place++) {
      for (let tap = 0; tap < taps; tap++) {
        const pixel = pixelAt({ x, filter, strides, pads, output }, place, tap);
        if (pixel < 0) continue;
        const from = (b * product(x.slice(1, -1)) + pixel) * channels;
        for (let c = 0; c < channels; c++) {
          for (let o = 0; o < outputs; o++) {
            const to = (b * places + place) * (depthwise ? channels * outputs : outputs) + (depthwise ? c * outputs + o : o);
            visit(from + c, (tap * channels + c) * outputs + o, to);
          }
        }
      }
    }
  }
}

/** The flat index of the pixel that a position sees at a tap, or -1 outside. */
function pixelAt({ x, filter, strides, pads, output }: Geometry, place: number, tap: number): number {
  let [pixel, stride] = [0, 1];
  for (let axis = pads.length - 1; axis >= 0; axis--) {
    const at = (place % output[axis]!) * strides - pads[axis]! + (tap % filter[axis]!);
    if (at < 0 || at >= x[axis + 1]!) return -1;
    pixel += at * stride;
    stride *= x[axis + 1]!;
    place = Math.floor(place / output[axis]!);
    tap = Math.floor(tap / filter[axis]!);
  }
  return pixel;
}
