import { isTensor, type HostTensor, type Tensor } from '@atelier/tensor';

/** Numbers that the checks can read: a tensor, a host tensor (such as one in a golden file), or a flat list. */
export type Values = Tensor | HostTensor | ArrayLike<number>;

/** Flat values in C order, and the shape if there is one. @throws Error if `x` holds no numbers. */
export function readValues(x: Values, where: string): { data: ArrayLike<number>; shape?: readonly number[] } {
  if (isTensor(x)) {
    if (x.isDisposed) throw new Error(`${where}: wanted a living tensor, got one that is disposed`);
    return { data: x.dataSync(), shape: x.shape };
  }
  if (x !== null && typeof x === 'object') {
    if ('data' in x && 'shape' in x) return x;
    if ('length' in x) return { data: x };
  }
  throw new Error(`${where}: wanted a tensor, host tensor or list of numbers, got ${x === null ? 'null' : typeof x}`);
}
