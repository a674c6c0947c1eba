import { shown } from '@atelier/tensor';
import { zipSync } from 'fflate';
import type { GaussianMoments } from './frechet.ts';
import { unzip } from './unzip.ts';

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
  return Object.fromEntries(
    [...unzip(file, where)].map(([name, bytes]) => {
      if (!name.endsWith('.npy')) throw new Error(`${where}: wanted .npy files in the archive, got ${shown(name)}`);
      const key = name.slice(0, -'.npy'.length);
      return [key, parseNpy(bytes, `${where}: array ${shown(key)}`)];
    }),
  );
}

/** One array: magic, version, length of the header, a header in Python, values. */
function parseNpy(bytes: Uint8Array, where: string): NpyArray {
  if (MAGIC.some((byte, i) => bytes[i] !== byte) || bytes.length < 12)
    throw new Error(`${where}: wanted the magic number of NumPy, got other bytes`);
  const [major, minor] = [bytes[6]!, bytes[7]!];
  if (major < 1 || major > 3 || minor !== 0) throw new Error(`${where}: wanted version 1.0, 2.0 or 3.0, got ${major}.${minor}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const begin = major > 1 ? 12 : 10;
  const length = major > 1 ? view.getUint32(8, true) : view.getUint16(8, true);
  if (begin + length > bytes.length) throw new Error(`${where}: wanted a header of ${length} bytes, got ${bytes.length - begin}`);
  if (length > MOST_HEADER) throw new Error(`${where}: wanted a header of at most ${MOST_HEADER} bytes, got ${length}`);
  const { type, fortran, shape } = parseNpyHeader(new TextDecoder('latin1').decode(bytes.subarray(begin, begin + length)), where);
  const size = shape.reduce((a, b) => a * b, 1);
  const Type = TYPES[type];
  const values = bytes.slice(begin + length);
  if (values.length !== size * Type.BYTES_PER_ELEMENT)
    throw new Error(`${where}: wanted ${size * Type.BYTES_PER_ELEMENT} bytes for [${shape.join(', ')}], got ${values.length}`);
  const odd = type === '|b1' ? values.findIndex((value) => value > 1) : -1;
  if (odd >= 0) throw new Error(`${where}: wanted 0 or 1 as bool, got ${values[odd]} at index ${odd}`);
  const data = new Type(values.buffer);
  return { shape, data: fortran ? rowMajor(data, shape) : data };
}

/** Axes of an array and bytes of a header at most, as in NumPy. */
const [MOST_AXES, MOST_HEADER] = [64, 10_000];

/** `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`: each of the three keys once, in any order. */
function parseNpyHeader(header: string, where: string): { type: TypeName; fortran: boolean; shape: number[] } {
  const inner = /^\s*\{(.*)\}\s*$/s.exec(header)?.[1] ?? '';
  const entries = [...inner.matchAll(/\s*'(\w+)'\s*:\s*('[^']*'|\w+|\([\d\s,]*\))\s*(?:,|$)/gy)];
  const found = new Map(entries.map(([, key, value]) => [key, value!]));
  const rest = inner.slice(entries.reduce((sum, [all]) => sum + all.length, 0)).trim();
  const [type, fortran, dims] = ['descr', 'fortran_order', 'shape'].map((key) => found.get(key));
  const shape = parseShape(dims);
  if (
    type?.startsWith("'") !== true ||
    !['True', 'False'].includes(fortran ?? '') ||
    shape === undefined ||
    entries.length !== 3 ||
    rest !== ''
  )
    throw new Error(`${where}: wanted a header with descr, fortran_order and shape, got ${shown(header.trim())}`);
  const name = type.slice(1, -1);
  if (!Object.hasOwn(TYPES, name)) throw new Error(`${where}: wanted a type of ${Object.keys(TYPES).join(', ')}, got ${shown(name)}`);
  if (shape.length > MOST_AXES || !shape.every(Number.isSafeInteger))
    throw new Error(`${where}: wanted at most ${MOST_AXES} axes of whole numbers, got ${shown(dims)}`);
  return { type: name as TypeName, fortran: fortran === 'True', shape };
}

/** `(2, 3)`, `(2,)` or `()`; undefined for anything else, such as `(2)`, which is no tuple in Python. */
function parseShape(text: string | undefined): number[] | undefined {
  if (text?.startsWith('(') !== true) return undefined;
  const parts = text
    .slice(1, -1)
    .split(',')
    .map((part) => part.trim());
  const [only] = parts;
  if (parts.length === 1) return only === '' ? [] : undefined;
  if (parts.at(-1) === '') parts.pop();
  return parts.every((part) => /^\d+$/.test(part)) ? parts.map(Number) : undefined;
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

/** How far two entries of a covariance that mirror each other may differ, by rounding in float32. */
const SYMMETRY = 1e-4;

/**
 * Mean and covariance in an `.npz` file of statistics as FID programs keep them: arrays `mu` [dim] and `sigma` [dim, dim].
 *
 * @param where the beginning of error messages, usually the path
 * @throws Error with one sentence that says what is missing or does not fit
 */
export function parseStatistics(file: Uint8Array, where: string): GaussianMoments {
  const arrays = parseNpz(file, where);
  const [mu, sigma] = ['mu', 'sigma'].map((name) => (Object.hasOwn(arrays, name) ? arrays[name] : undefined));
  for (const [name, array] of Object.entries({ mu, sigma }))
    if (!(array?.data instanceof Float64Array || array?.data instanceof Float32Array))
      throw new Error(`${where}: wanted an array '${name}' of floats, got ${array === undefined ? 'none' : 'another type'}`);
  const dim = mu!.data.length;
  if (mu!.shape.length !== 1 || sigma!.shape.join() !== `${dim},${dim}`)
    throw new Error(`${where}: wanted mu [dim] and sigma [dim, dim], got [${mu!.shape.join(', ')}] and [${sigma!.shape.join(', ')}]`);
  const [mean, covariance] = [mu, sigma].map((array) => Float64Array.from(array!.data as Float64Array)) as [Float64Array, Float64Array];
  for (const [name, values] of Object.entries({ mu: mean, sigma: covariance })) {
    const odd = values.findIndex((value) => !Number.isFinite(value));
    if (odd >= 0) throw new Error(`${where}: array '${name}': wanted finite numbers, got ${values[odd]} at index ${odd}`);
  }
  for (let i = 0; i < dim; i++) {
    if (covariance[i * (dim + 1)]! < 0)
      throw new Error(`${where}: array 'sigma': wanted variances >= 0, got ${covariance[i * (dim + 1)]} at [${i}, ${i}]`);
    for (let j = 0; j < i; j++) {
      const [a, b] = [covariance[i * dim + j]!, covariance[j * dim + i]!];
      if (Math.abs(a - b) > SYMMETRY * Math.max(1, Math.abs(a), Math.abs(b)))
        throw new Error(`${where}: array 'sigma': wanted a symmetric matrix, got ${a} at [${i}, ${j}] and ${b} at [${j}, ${i}]`);
    }
  }
  return { mean, covariance };
}

/** The bytes of an `.npz` file of these statistics, in float64. */
export const encodeStatistics = ({ mean, covariance }: GaussianMoments): Uint8Array =>
  encodeNpz({ mu: { shape: [mean.length], data: mean }, sigma: { shape: [mean.length, mean.length], data: covariance } });
