/** A file from its parts, none of which needs to be right. */
export function file(header: unknown, values: ArrayLike<number> = [], length?: bigint): Uint8Array {
  const json =
    typeof header === 'string'
      ? new TextEncoder().encode(header)
      : header instanceof Uint8Array
        ? header
        : new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(8 + json.length + values.length);
  new DataView(out.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  out.set(json, 8);
  out.set(Array.from(values), 8 + json.length);
  return out;
}

/** The memory of a typed array. */
export const bytesOf = (array: { buffer: ArrayBufferLike }): Uint8Array => new Uint8Array(array.buffer);
/** One tensor's description in the header. */
export const entry = (dtype: string, shape: number[], begin: number, end: number): object => ({ dtype, shape, data_offsets: [begin, end] });
