import { tf } from '../src/tf.ts';

export type Tensor = tf.Tensor;
export type DType = 'float32' | 'int32' | 'bool';

/** Largest number of elements of a value in a program. */
export const MAX_SIZE = 400;

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Passes a value on and stops its gradient: TensorFlow.js records no gradient inside of a kernel. */
export function stopped(x: Tensor): Tensor {
  const { state } = tf.engine();
  state.kernelDepth++;
  try {
    return x.clone();
  } finally {
    state.kernelDepth--;
  }
}

/** The same without NaN: 0 in its place. */
export const withoutNaN = (x: Tensor): Tensor => (x.dtype === 'float32' ? tf.where(tf.isNaN(stopped(x)), tf.zerosLike(x), x) : x);

/**
 * The values that a program has made until now, and the numbers from which one step of it takes its choices. A step sees only shapes and types,
 * never values. So it makes the same choices on every engine, and in a compiled function.
 */
export class Pool {
  private readonly values: readonly Tensor[];
  private readonly numbers: readonly number[];
  private readonly stop: boolean;
  private readonly absolute: boolean;
  private at = 0;
  /** The values that the step took. */
  readonly taken: Tensor[] = [];

  /** With `stop`, no gradient passes through the step. With `absolute`, fixed numbers are absolute values. */
  constructor(values: readonly Tensor[], numbers: readonly number[], stop: boolean, absolute = false) {
    this.values = values;
    this.numbers = numbers;
    this.stop = stop;
    this.absolute = absolute;
  }

  /** A number from 0 to count - 1. */
  below(count: number): number {
    return count <= 1 ? 0 : this.numbers[this.at++ % this.numbers.length]! % count;
  }

  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  flag(): boolean {
    return this.below(2) === 1;
  }

  private take(fits: (x: Tensor) => boolean): Tensor | undefined {
    const fitting = this.values.filter(fits);
    if (fitting.length === 0) return undefined;
    // Half of the time one of the last three, so that programs become deep.
    const last = this.flag() ? 3 : fitting.length;
    const x = fitting[fitting.length - 1 - this.below(Math.min(last, fitting.length))]!;
    this.taken.push(x);
    return this.stop ? stopped(x) : x;
  }

  any(fits: (x: Tensor) => boolean = () => true): Tensor {
    const x = this.take(fits);
    if (x === undefined) throw new NothingFits();
    return x;
  }

  /** A value as float32. */
  float(fits?: (x: Tensor) => boolean): Tensor {
    return tf.cast(this.any(fits), 'float32');
  }

  /** A number, so no bool. */
  number(): Tensor {
    return this.any((x) => x.dtype !== 'bool');
  }

  bool(fits?: (x: Tensor) => boolean): Tensor {
    const x = this.any(fits);
    return x.dtype === 'bool' ? x : tf.greater(stopped(x), tf.scalar(1, x.dtype));
  }

  /** Whole numbers of a size that products and powers keep in the range of int32; other types as they are. */
  small(fits?: (x: Tensor) => boolean): Tensor {
    const x = this.any(fits);
    return x.dtype === 'int32' ? tf.mod(x, tf.scalar(7, 'int32')) : x;
  }

  /** A value that broadcasts with x. */
  beside(x: Tensor): Tensor {
    return this.any((y) => broadcast(x, y));
  }

  /** A value with at least one element and one axis. */
  filled(): Tensor {
    return this.any((x) => x.size > 0 && x.rank > 0);
  }

  /** The elements of a value in a shape of `rank` axes. */
  shaped(x: Tensor, rank: number): Tensor {
    return tf.reshape(x, this.shapeOf(x.size, rank));
  }

  /** A shape of `rank` axes with `size` elements. */
  shapeOf(size: number, rank: number): number[] {
    const shape = new Array<number>(rank).fill(1);
    if (size === 0) return shape.fill(0, 0, 1);
    let rest = size;
    for (let axis = 0; axis < rank - 1; axis++) {
      const divisors = [1, 2, 3, 4, 5, 6].filter((d) => rest % d === 0);
      shape[axis] = this.of(divisors);
      rest /= shape[axis]!;
    }
    if (rank > 0) shape[rank - 1] = rest;
    return shape;
  }

  /** An image batch [b, h, w, c] of float32 with at most three channels. */
  image(): Tensor {
    const x = this.float((y) => y.size >= 4);
    const channels = this.of([1, 2, 3].filter((c) => x.size % c === 0));
    const height = this.of([2, 3, 4, 5].filter((h) => (x.size / channels) % h === 0).concat(1));
    return tf.reshape(x, [1, height, x.size / channels / height, channels]);
  }

  /** An axis of x, counted from the front or from the end. */
  axis(x: Tensor): number {
    const axis = this.below(x.rank);
    return this.flag() ? axis : axis - x.rank;
  }

  /** Some axes of x, at least one. */
  axes(x: Tensor): number[] {
    const some = x.shape.map((_, i) => i).filter(() => this.flag());
    return some.length > 0 ? some : [this.axis(x)];
  }

  /** Fixed numbers in [-1, 1), for filters and the like. */
  fixed(shape: number[]): Tensor {
    const start = this.below(1000);
    const value = (i: number): number => (((i + start) * 7919) % 997) / 498.5 - 1;
    return tf.tensor(
      Array.from({ length: sizeOf(shape) }, (_, i) => (this.absolute ? Math.abs(value(i)) : value(i))),
      shape,
    );
  }

  /** Fixed indices from 0 to count - 1. */
  indices(shape: number[], count: number): Tensor {
    return tf.tensor(
      Array.from({ length: sizeOf(shape) }, () => this.below(count)),
      shape,
      'int32',
    );
  }
}

/** No value of the program fits the step. Then the step does nothing. */
export class NothingFits extends Error {}

function broadcast(x: Tensor, y: Tensor): boolean {
  const rank = Math.max(x.rank, y.rank);
  let size = 1;
  for (let i = 1; i <= rank; i++) {
    const [a, b] = [x.shape[x.rank - i] ?? 1, y.shape[y.rank - i] ?? 1];
    if (a !== b && a !== 1 && b !== 1) return false;
    size *= a === 1 ? b : a;
  }
  return size <= MAX_SIZE;
}
