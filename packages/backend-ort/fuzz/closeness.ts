import type { DType } from './pool.ts';

/** A tensor on the host. */
export interface Host {
  dtype: DType;
  shape: number[];
  data: number[];
}

/** Beyond this a value may become infinite on one engine and not on the other. */
const WILD = 1e12;

export const isCalm = (xs: readonly Host[]): boolean => xs.every(({ data }) => data.every((x) => Math.abs(x) < WILD));

/** How far the other runs are from the first one, element by element. NaN if they are not all finite. */
export const spread = (right: Host, others: readonly Host[]): number[] =>
  right.data.map((value, i) => others.reduce((most, { data }) => Math.max(most, Math.abs(data[i]! - value)), 0));

/** Null if the values agree up to rounding errors, else the first element that does not. */
export function isClose(got: Host, right: Host, between: readonly number[], calm: boolean): string | null {
  if (got.dtype !== right.dtype || got.shape.join() !== right.shape.join())
    return `wanted ${right.dtype} [${right.shape}], got ${got.dtype} [${got.shape}]`;
  for (let i = 0; i < right.data.length; i++) {
    const [a, b, range] = [got.data[i]!, right.data[i]!, between[i]!];
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const finite = Number.isFinite(a) && Number.isFinite(b);
    if (!finite || Number.isNaN(range)) {
      if (calm) return `element ${i}: cpu ${b}, ort ${a}`;
      continue;
    }
    const allowed = 8 * range + (right.dtype === 'float32' ? 1e-5 * Math.abs(b) + 1e-37 : 0);
    if (Math.abs(a - b) > allowed && (calm || Math.abs(b) < WILD)) return `element ${i}: cpu ${b}, ort ${a}, allowed ${allowed}`;
  }
  return null;
}
