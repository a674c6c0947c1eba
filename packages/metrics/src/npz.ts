import { unzipSync, zipSync } from 'fflate';
import type { GaussianMoments } from './frechet.ts';

/** An array of NumPy, row-major. */
export type NpyArray = { shape: number[]; data: Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array };

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
const TYPES = {
  '<f4': Float32Array,
  '<f8': Float64Array,
  '<i4': Int32Array,
  '<i8': BigInt64Array,
  '|u1': Uint8Array,
  '|b1': Uint8Array,
} as const;
type TypeName = keyof typeof TYPES;

/**
 * Reads the arrays of an `.npz` file of NumPy (`np.savez` or `np.savez_compressed`): float32, float64, int32, int64, uint8 and bool, little-endian.
 *
 * @param where the beginning of error messages, usually the path
 * @throws Error with one sentence that names the file and the array
 */
export function parseNpz(file: Uint8Array, where: string): Record<string, NpyArray> {
  let entries: Record<string, Uint8Array>;
  try {
    entries = unzipSync(file);
  } catch (error) {
    throw new Error(`${where}: wanted an .npz file, which is a zip archive, got ${(error as Error).message}`, { cause: error });
  }
  return Object.fromEntries(
    Object.entries(entries).map(([name, bytes]) => {
      if (!name.endsWith('.npy')) throw new Error(`${where}: wanted .npy files in the archive, got '${name}'`);
      const key = name.slice(0, -'.npy'.length);
      return [key, parseNpy(bytes, `${where}: array '${key}'`)];
    }),
  );
}

/** One array: magic, version, length of the header, a header in Python, values. */
function parseNpy(bytes: Uint8Array, where: string): NpyArray {
  if (MAGIC.some((byte, i) => bytes[i] !== byte) || bytes.length < 12)
    throw new Error(`${where}: wanted the magic number of NumPy, got other bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [long, begin] = [bytes[6]! > 1, bytes[6]! > 1 ? 12 : 10];
  const length = long ? view.getUint32(8, true) : view.getUint16(8, true);
  if (begin + length > bytes.length) throw new Error(`${where}: wanted a header of ${length} bytes, got ${bytes.length - begin}`);
  const header = new TextDecoder('latin1').decode(bytes.subarray(begin, begin + length));
  const type = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const fortran = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const dims = /'shape':\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  if (type === undefined || fortran === undefined || dims === undefined)
    throw new Error(`${where}: wanted a header with descr, fortran_order and shape, got '${header.trim().slice(0, 80)}'`);
  if (!(type in TYPES)) throw new Error(`${where}: wanted a type of ${Object.keys(TYPES).join(', ')}, got '${type}'`);
  const shape = (dims.match(/\d+/g) ?? []).map(Number);
  const size = shape.reduce((a, b) => a * b, 1);
  const Type = TYPES[type as TypeName];
  const values = bytes.slice(begin + length);
  if (values.length !== size * Type.BYTES_PER_ELEMENT)
    throw new Error(`${where}: wanted ${size * Type.BYTES_PER_ELEMENT} bytes for [${shape.join(', ')}], got ${values.length}`);
  const data = new Type(values.buffer);
  return { shape, data: fortran === 'True' ? rowMajor(data, shape) : data };
}

/** Values whose first axis runs fastest, in row-major order. */
function rowMajor<T extends NpyArray['data']>(data: T, shape: readonly number[]): T {
  const out = data.slice() as T;
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((a, b) => a * b, 1));
  for (let i = 0; i < data.length; i++) {
    let [rest, from] = [i, 0];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += (rest % shape[axis]!) * strides[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    out[i] = data[from]!;
  }
  return out;
}

/** The bytes of an `.npz` file, as `np.savez` writes it; `np.load` reads it. @throws Error if a shape does not fit its data */
export function encodeNpz(arrays: Readonly<Record<string, NpyArray>>): Uint8Array {
  const entries = Object.entries(arrays).map(([name, array]) => [`${name}.npy`, encodeNpy(array, `encodeNpz: array '${name}'`)] as const);
  return zipSync(Object.fromEntries(entries), { level: 0 });
}

function encodeNpy({ shape, data }: NpyArray, where: string): Uint8Array {
  const size = shape.reduce((a, b) => a * b, 1);
  if (size !== data.length) throw new Error(`${where}: wanted ${size} values for [${shape.join(', ')}], got ${data.length}`);
  const type = (Object.keys(TYPES) as TypeName[]).find((name) => data instanceof TYPES[name])!;
  const header = `{'descr': '${type}', 'fortran_order': False, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`;
  // Values begin at a multiple of 64 bytes, and the header ends with a new line.
  const padded = header.padEnd(Math.ceil((10 + header.length + 1) / 64) * 64 - 11) + '\n';
  const out = new Uint8Array(10 + padded.length + data.byteLength);
  out.set([...MAGIC, 1, 0, padded.length & 255, padded.length >> 8]);
  out.set(new TextEncoder().encode(padded), 10);
  out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 10 + padded.length);
  return out;
}

/**
 * Mean and covariance in an `.npz` file of statistics as FID programs keep them: arrays `mu` [dim] and `sigma` [dim, dim].
 *
 * @param where the beginning of error messages, usually the path
 * @throws Error with one sentence that says what is missing or does not fit
 */
export function parseStatistics(file: Uint8Array, where: string): GaussianMoments {
  const { mu, sigma } = parseNpz(file, where);
  for (const [name, array] of Object.entries({ mu, sigma }))
    if (!(array?.data instanceof Float64Array || array?.data instanceof Float32Array))
      throw new Error(`${where}: wanted an array '${name}' of floats, got ${array === undefined ? 'none' : 'another type'}`);
  const dim = mu!.data.length;
  if (mu!.shape.length !== 1 || sigma!.shape.join() !== `${dim},${dim}`)
    throw new Error(`${where}: wanted mu [dim] and sigma [dim, dim], got [${mu!.shape.join(', ')}] and [${sigma!.shape.join(', ')}]`);
  return { mean: Float64Array.from(mu!.data as Float64Array), covariance: Float64Array.from(sigma!.data as Float64Array) };
}

/** The bytes of an `.npz` file of these statistics, in float64. */
export const encodeStatistics = ({ mean, covariance }: GaussianMoments): Uint8Array =>
  encodeNpz({ mu: { shape: [mean.length], data: mean }, sigma: { shape: [mean.length, mean.length], data: covariance } });
