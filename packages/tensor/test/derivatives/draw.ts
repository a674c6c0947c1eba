import { Rng, tf, type Tensor } from '../../src/index.ts';

/** A function that runs the kernel, and where it is differentiated. */
export type Case = {
  kernel: string;
  /** What is special about it, beside the kernel's name. */
  about?: string;
  f: (...xs: Tensor[]) => Tensor;
  xs: () => Tensor[];
  /** Where a derivative in the strict sense does not exist; the forward mode is then only compared with the gradient. */
  kink?: boolean;
  /** Equal elements share the derivative of a maximum or minimum. Then differences say nothing, but the shares must add up. */
  ties?: boolean;
};

const rng = (name: string): Rng => new Rng(`derivatives ${name}`);
/** Standard normal. */
export const normal =
  (...shapes: number[][]) =>
  (): Tensor[] =>
    shapes.map((shape, i) => rng(`normal ${i} ${shape}`).normal(shape));
/** Uniform in [low, high]. */
export const between =
  (low: number, high: number, ...shapes: number[][]) =>
  (): Tensor[] =>
    shapes.map((shape, i) => tf.add(tf.mul(rng(`uniform ${i} ${shape}`).uniform(shape), high - low), low));
/** Distinct, 0.32 from each other and in random order, far from 0, so that no step crosses a kink. */
export const apart =
  (...shapes: number[][]) =>
  (): Tensor[] =>
    shapes.map((shape, i) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const order = Array.from(rng(`order ${i} ${shape}`).uniform([size]).dataSync()).map((key, at) => [key, at] as const);
      const ranks = order.sort(([a], [b]) => a - b).map(([, at]) => at);
      return tf.tensor(
        ranks.map((rank) => 0.32 * (rank - Math.floor(size / 2)) + 0.13 + 0.09 * i),
        shape,
      );
    });
/** The numbers of each list, in its shape. */
export const values =
  (...lists: [number[], number[]][]) =>
  (): Tensor[] =>
    lists.map(([list, shape]) => tf.tensor(list, shape));
/** Whole numbers. */
export const int = (list: number[], shape: number[] = [list.length]): Tensor => tf.tensor(list, shape, 'int32');
/** Runs a kernel by its name. */
export const kernel = (name: string, inputs: Record<string, Tensor>, attributes: object = {}): Tensor =>
  tf.engine().runKernel(name, inputs, attributes as never) as Tensor;
