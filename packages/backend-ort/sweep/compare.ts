import { tf } from '../src/tf.ts';
import { evaluated, operandsOf, ways, type DType, type Outcome, type Value } from './modes.ts';
import type { Call } from './table.ts';

/** What differs between `cpu` and `ort` in one call of the sweep: each way on `ort` must give what `cpu` gives. */
export async function faultsOf(call: Call, dtype: DType, empty: string | null): Promise<string[]> {
  const operands = operandsOf(call.operands, dtype, empty);
  const name = `${call.kernel}(${operands.map((x) => `${x.dtype} [${x.shape}]`).join(', ')})`;
  await tf.setBackend('cpu');
  const right = evaluated(call, operands);
  await tf.setBackend('ort');
  const faults: string[] = [];
  for (const { way, wanted, outcome } of ways(call, operands, right instanceof Error ? 1 : right.length)) {
    const fault = difference(right instanceof Error ? right : wanted.map((i) => right[i]!), outcome);
    if (fault !== null) faults.push(`${name} ${way}: ${fault}`);
  }
  return faults;
}

/** What differs between two results, or null. */
export function difference(right: Outcome, got: Outcome): string | null {
  if (right instanceof Error && got instanceof Error) return null;
  if (right instanceof Error) return `cpu throws "${right.message.slice(0, 120)}", ort gives ${show((got as Value[])[0]!)}`;
  if (got instanceof Error) return `cpu gives ${show(right[0]!)}, ort throws "${got.message.slice(0, 160)}"`;
  if (right.length !== got.length) return `wanted ${right.length} results, got ${got.length}`;
  for (const [i, want] of right.entries()) {
    const have = got[i]!;
    const where = right.length > 1 ? `result ${i}: ` : '';
    if (have.dtype !== want.dtype || have.shape.join() !== want.shape.join()) return `${where}cpu ${show(want)}, ort ${show(have)}`;
    const scale = Math.max(1, ...want.data.filter(Number.isFinite).map(Math.abs));
    for (const [at, raw] of want.data.entries()) {
      // A bool is 0 or 1 on `ort`. On `cpu` it may be another number.
      const value = want.dtype === 'bool' && raw !== 0 ? 1 : raw;
      const allowed = want.dtype === 'float32' ? 1e-5 * scale : 0;
      if (!(Object.is(value, have.data[at]) || Math.abs(value - have.data[at]!) <= allowed)) return `${where}element ${at}: cpu ${value}, ort ${have.data[at]}`; // prettier-ignore
    }
  }
  return null;
}

const show = ({ dtype, shape, data }: Value): string => `${dtype} [${shape}]${data.length <= 6 ? ` ${data.join()}` : ''}`;
