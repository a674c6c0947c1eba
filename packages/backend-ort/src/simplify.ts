import type { Node } from './graph.ts';
import type { OnnxType } from './onnx.ts';

/** Checks that `Graph` uses to leave out operators that change nothing. */

/** Whether this is a constant scalar, expanded to a shape. */
export const isFill = (x: Node): boolean => x.op === 'Expand' && x.inputs[0]!.op === 'Constant' && x.inputs[0]!.data!.length === 1;

/** The value of a constant scalar, expanded or not. NaN for all other nodes. */
export function repeated(x: Node): number {
  const inner = x.op === 'Expand' ? x.inputs[0]! : x;
  return inner.op === 'Constant' && inner.data!.length === 1 ? Number(inner.data![0]) : NaN;
}

/** Whether x `op` value is x, bit for bit. The sign of a zero matters: -0 + 0 is 0, and -0 + -0 is -0. */
export function isNeutral(op: string, value: number, dtype: OnnxType): boolean {
  if (op === 'Mul' || op === 'Div' || op === 'Pow') return value === 1;
  if (value !== 0) return false;
  const integer = dtype === 'int32' || dtype === 'int64';
  if (op === 'Add') return integer || Object.is(value, -0);
  return op === 'Sub' && (integer || Object.is(value, 0));
}

/** If the parts are consecutive slices of one tensor along an axis, and together the whole tensor, returns that tensor, else null. */
export function cutFrom(parts: readonly Node[], axis: number): Node | null {
  const source = parts[0]!.op === 'Slice' ? parts[0]!.inputs[0]! : null;
  if (source === null) return null;
  let at = 0n;
  for (const part of parts) {
    if (part.op !== 'Slice' || part.inputs[0] !== source || part.inputs.length !== 4) return null;
    const [starts, ends, axes] = part.inputs.slice(1).map((x) => x!.data as BigInt64Array);
    if (axes!.length !== 1 || Number(axes![0]) !== axis || starts![0] !== at) return null;
    at = ends![0]!;
  }
  return Number(at) === source.shape[axis] ? source : null;
}
