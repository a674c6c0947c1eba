import { disposeTree, type Tensor, type Tree } from '@atelier/tensor';
import type { RepeatedWork } from '../../harness/laps.ts';

/** One repetition, which disposes everything that it makes except the tensor that is read. */
export type Repetition = (index: number) => Tensor | Promise<Tensor>;

/** Samples of a sampler. `make` gives the function that draws one batch and returns it. */
export const samples = (make: () => Repetition): RepeatedWork => repeated('samples', 1000, make);

/** @param make is called once, before the first repetition */
export const repeated = (unit: RepeatedWork['unit'], total: number, make: () => Repetition): RepeatedWork => ({
  unit,
  total,
  async run(times, done) {
    const next = make();
    for (let index = 0; index < times; index++) {
      const result = await next(index);
      const data = await result.data();
      result.dispose();
      if (!Array.prototype.every.call(data, Number.isFinite)) throw new Error(`wanted finite numbers, got others in repetition ${index}`);
      done();
    }
  },
});

/** The first of some tensors; the others are disposed. */
export function only<T extends { [name: string]: Tree }>(made: T, name: keyof T & string): Tensor {
  const { [name]: kept, ...others } = made;
  disposeTree(others as Tree);
  return kept as Tensor;
}
