/** The bytes of an IDX file of unsigned bytes. */
export function idxFile(dims: readonly number[], data: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * dims.length + data.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0, 0, 8, dims.length]);
  dims.forEach((size, axis) => view.setUint32(4 + 4 * axis, size));
  bytes.set(data as Uint8Array, 4 + 4 * dims.length);
  return bytes;
}
