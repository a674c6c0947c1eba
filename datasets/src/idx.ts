import { decompress, type NamedBytes } from './gzip.ts';

/** An array of bytes as the IDX format of MNIST holds it, row-major. */
export type IdxArray = { dims: number[]; data: Uint8Array };

/** Largest file that is read, decompressed: 8 times MNIST's. */
const LIMIT = 2 ** 29;
const UNSIGNED_BYTE = 0x08;

/**
 * Reads an IDX file of unsigned bytes, plain or gzipped.
 *
 * Layout, big-endian: two zero bytes, the element type (0x08), the number of axes, one uint32 for each axis, then the elements.
 *
 * @param axes the number of axes it must have: 3 for images [N, H, W], 1 for labels [N].
 * @throws Error with file name and byte offset if the magic number, an axis or the length is not what it should be.
 */
export function parseIdx(file: NamedBytes, axes: number): IdxArray {
  const { bytes, where } = decompress(file, LIMIT);
  const header = 4 + 4 * axes;
  if (bytes.length < header)
    throw new Error(`${where} at byte ${bytes.length}: wanted an IDX header of ${header} bytes, got the end of the file`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint32(0);
  const wanted = (UNSIGNED_BYTE << 8) | axes;
  if (magic !== wanted)
    throw new Error(`${where} at byte 0: wanted the magic number ${wanted} (unsigned bytes, ${axes} axes), got ${magic}`);
  const dims = Array.from({ length: axes }, (_, axis) => view.getUint32(4 + 4 * axis));
  dims.forEach((size, axis) => {
    if (size === 0) throw new Error(`${where} at byte ${4 + 4 * axis}: wanted an axis of at least 1, got 0`);
  });
  const end = header + dims.reduce((product, size) => product * size, 1);
  if (bytes.length < end)
    throw new Error(`${where} at byte ${bytes.length}: wanted ${end} bytes for [${dims.join(', ')}], got the end of the file`);
  if (bytes.length > end)
    throw new Error(`${where} at byte ${end}: wanted the end of the file after [${dims.join(', ')}], got ${bytes.length - end} more bytes`);
  return { dims, data: bytes.subarray(header) };
}

/**
 * Reads images [N, H, W] and their labels [N].
 *
 * @param classes labels must be below it.
 * @throws Error as `parseIdx`, or if the counts differ, or at the byte of the first label out of range.
 */
export function parseIdxPair(imageFile: NamedBytes, labelFile: NamedBytes, classes: number): { images: IdxArray; labels: Int32Array } {
  const images = parseIdx(imageFile, 3);
  const labels = parseIdx(labelFile, 1);
  if (labels.dims[0] !== images.dims[0]) {
    throw new Error(
      `${labelFile.where} at byte 4: wanted ${images.dims[0]} labels, as many as ${imageFile.where} has images, got ${labels.dims[0]}`,
    );
  }
  const bad = labels.data.findIndex((label) => label >= classes);
  if (bad >= 0) throw new Error(`${labelFile.where} at byte ${8 + bad}: wanted a label below ${classes}, got ${labels.data[bad]}`);
  return { images, labels: Int32Array.from(labels.data) };
}
