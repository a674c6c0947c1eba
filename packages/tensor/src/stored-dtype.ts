import type { HostTensor } from './host-tensor.ts';

/** Bytes per value of the safetensors element types that this package reads. */
export const ITEM_BYTES = { F32: 4, F64: 8, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, I8: 1, BOOL: 1 } as const;
export type StoredDtype = keyof typeof ITEM_BYTES;

/**
 * Reads little-endian values as float32, int32 or bool. `bytes` must begin at the start of its buffer. The result may use this buffer.
 * @throws Error if a finite F64 exceeds float32, an I64 exceeds int32, or a BOOL is neither 0 nor 1.
 */
export function decodeValues(bytes: Uint8Array, dtype: StoredDtype, where: string): Pick<HostTensor, 'dtype' | 'data'> {
  const { buffer } = bytes;
  switch (dtype) {
    case 'F32':
      return { dtype: 'float32', data: new Float32Array(buffer) };
    case 'F64':
      return { dtype: 'float32', data: fromFloat64(new Float64Array(buffer), where) };
    case 'F16':
      return { dtype: 'float32', data: Float32Array.from(new Uint16Array(buffer), halfToNumber) };
    case 'BF16':
      return { dtype: 'float32', data: new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer) };
    case 'I64':
      return { dtype: 'int32', data: fromInt64(new Int32Array(buffer), where) };
    case 'I32':
      return { dtype: 'int32', data: new Int32Array(buffer) };
    case 'U8':
      return { dtype: 'int32', data: new Int32Array(bytes) };
    case 'I8':
      return { dtype: 'int32', data: new Int32Array(new Int8Array(buffer)) };
    case 'BOOL': {
      const odd = bytes.findIndex((value) => value > 1);
      if (odd >= 0) throw new Error(`${where}: wanted 0 or 1 as BOOL, got ${bytes[odd]} at index ${odd}`);
      return { dtype: 'bool', data: bytes };
    }
  }
}

/** The exact value of an IEEE 754 half-precision number. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function fromFloat64(values: Float64Array, where: string): Float32Array {
  const out = new Float32Array(values);
  const odd = out.findIndex((value, i) => !Number.isFinite(value) && Number.isFinite(values[i]));
  if (odd >= 0) throw new Error(`${where}: wanted F64 values within float32, got ${values[odd]} at index ${odd}`);
  return out;
}

/**
 * Reads pairs of 32-bit halves, the low half first. The number fits into int32 if all bits of the high half equal the sign bit of the low
 * half.
 */
function fromInt64(halves: Int32Array, where: string): Int32Array {
  const out = new Int32Array(halves.length / 2);
  for (let i = 0; i < out.length; i++) {
    const low = halves[2 * i]!;
    const high = halves[2 * i + 1]!;
    if (high !== low >> 31)
      throw new Error(`${where}: wanted I64 values within int32, got ${BigInt(high) * 2n ** 32n + BigInt(low >>> 0)} at index ${i}`);
    out[i] = low;
  }
  return out;
}
