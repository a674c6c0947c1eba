import { checkHostTensor, type HostTensor } from './host-tensor.ts';
import { decodeValues, ITEM_BYTES, type StoredDtype } from './stored-dtype.ts';
import { shown } from './shown.ts';
import { parseJson } from './strict-json.ts';

/** Tensors and metadata of one safetensors file. */
export type Safetensors = { tensors: Record<string, HostTensor>; metadata: Record<string, string> };

type Entry = { name: string; dtype: StoredDtype; shape: number[]; begin: number; end: number };

/** The limit of the reference implementation. A file with a longer header is damaged. */
const MAX_HEADER_BYTES = 100_000_000;
const PREFIX_BYTES = 8;

/**
 * Reads a safetensors file: 8 bytes with the little-endian length of the header, a JSON header, then the values of all tensors without
 * gaps.
 *
 * F32, F64, F16 and BF16 become float32. I32, I64, U8 and I8 become int32. BOOL becomes bool. The whole file is checked, including bytes
 * that belong to no tensor.
 * @param where the beginning of error messages, usually the path.
 * @throws Error with one sentence that names the file and the tensor: incomplete or damaged header, repeated name, unknown dtype,
 * contradictory sizes or offsets, bytes that belong to no tensor, or values that float32 or int32 cannot hold.
 */
export function parseSafetensors(file: Uint8Array, where: string): Safetensors {
  if (!(file instanceof Uint8Array))
    throw new Error(`${where}: wanted the bytes of a safetensors file, got ${file === null ? 'null' : typeof file}`);
  // `slice` of a Buffer of Node copies nothing. `slice` of a plain Uint8Array makes a copy.
  const bytes = new Uint8Array(file.buffer, file.byteOffset, file.length);
  const headerBytes = headerLength(bytes, where);
  const header = parseHeader(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes), where);
  const metadata = Object.hasOwn(header, '__metadata__') ? parseMetadata(header['__metadata__'], where) : {};
  const names = Object.keys(header).filter((name) => name !== '__metadata__');
  const entries = names.map((name) => parseEntry(name, header[name], `${where}: tensor ${shown(name)}`));
  const values = bytes.subarray(PREFIX_BYTES + headerBytes);
  checkCover(entries, values.length, where);
  // `fromEntries` defines the property even if the name is `__proto__`.
  const tensors = Object.fromEntries(
    entries.map(({ name, dtype, shape, begin, end }) => [
      name,
      { shape, ...decodeValues(values.slice(begin, end), dtype, `${where}: tensor ${shown(name)}`) },
    ]),
  );
  return { tensors, metadata };
}

function headerLength(bytes: Uint8Array, where: string): number {
  if (bytes.length < PREFIX_BYTES)
    throw new Error(`${where}: wanted a safetensors file of at least ${PREFIX_BYTES} bytes, got ${bytes.length}`);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES)
    throw new Error(`${where}: wanted a safetensors header of at most ${MAX_HEADER_BYTES} bytes, got a length of ${length}`);
  const left = bytes.length - PREFIX_BYTES;
  if (length > left) throw new Error(`${where}: wanted a header of ${length} bytes, got a file with ${left} bytes after its length`);
  return Number(length);
}

function parseHeader(bytes: Uint8Array, where: string): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Error(`${where}: wanted a header in UTF-8, got bytes that are not`);
  }
  const header = parseJson(text, `${where}: header`);
  if (!isRecord(header)) throw new Error(`${where}: wanted a JSON object as header, got ${shown(header)}`);
  return header;
}

function parseMetadata(value: unknown, where: string): Record<string, string> {
  if (!isRecord(value)) throw new Error(`${where}: wanted an object of texts as __metadata__, got ${shown(value)}`);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw new Error(`${where}: wanted a text as metadata ${shown(key)}, got ${shown(text)}`);
  }
  return value as Record<string, string>;
}

function parseEntry(name: string, value: unknown, where: string): Entry {
  if (!isRecord(value)) throw new Error(`${where}: wanted { dtype, shape, data_offsets }, got ${shown(value)}`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !Object.hasOwn(ITEM_BYTES, dtype)) {
    throw new Error(`${where}: wanted dtype ${Object.keys(ITEM_BYTES).join(', ')}, got ${shown(dtype)}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount))
    throw new Error(`${where}: wanted a shape of whole numbers >= 0, got ${shown(shape)}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount) || offsets[0] > offsets[1]) {
    throw new Error(`${where}: wanted data_offsets [begin, end] with 0 <= begin <= end, got ${shown(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  const wanted = shape.reduce((a, b) => a * b, 1) * ITEM_BYTES[dtype as StoredDtype];
  if (end - begin !== wanted)
    throw new Error(`${where}: wanted ${wanted} bytes for ${dtype} ${shown(shape)}, got ${end - begin} between its offsets`);
  return { name, dtype: dtype as StoredDtype, shape, begin, end };
}

/** Checks that every byte after the header belongs to exactly one tensor. */
function checkCover(entries: readonly Entry[], bytes: number, where: string): void {
  let covered = 0;
  // A tensor without elements may begin at the same byte as the next one. Sorting puts it first.
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered)
      throw new Error(
        `${where}: tensor ${shown(name)}: wanted values from byte ${covered} on, where the values before it end, got ${begin}`,
      );
    if (end > bytes)
      throw new Error(
        `${where}: tensor ${shown(name)}: wanted values up to byte ${end}, got a file that ends at byte ${bytes} of the values`,
      );
    covered = end;
  }
  if (covered !== bytes)
    throw new Error(`${where}: wanted ${covered} bytes of values, got ${bytes}, of which the last ${bytes - covered} belong to no tensor`);
}

/**
 * The bytes of a safetensors file: float32 as F32, int32 as I32, bool as BOOL. Tensors are sorted by name, four-byte types first, so that
 * all values are aligned. Equal input gives equal bytes.
 * @throws Error if the parts of a tensor do not fit together, or if metadata is not text.
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, HostTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  if (!isRecord(tensors))
    throw new Error(`encodeSafetensors: wanted a record of tensors, got ${tensors === null ? 'null' : typeof tensors}`);
  parseMetadata(metadata, 'encodeSafetensors');
  const stored = { float32: 'F32', int32: 'I32', bool: 'BOOL' } as const;
  const entries = Object.entries(tensors);
  for (const [name, tensor] of entries) {
    if (name === '__metadata__')
      throw new Error(`encodeSafetensors: wanted a tensor name other than '__metadata__', which the format keeps for itself`);
    checkHostTensor(tensor, `encodeSafetensors: tensor '${name}'`);
  }
  const bytesLast = (host: HostTensor): number => (host.dtype === 'bool' ? 1 : 0);
  entries.sort(([a, x], [b, y]) => bytesLast(x) - bytesLast(y) || (a < b ? -1 : 1));
  let size = 0;
  const described = entries.map(([name, { dtype, shape, data }]) => {
    const begin = size;
    size += data.byteLength;
    return [name, { dtype: stored[dtype], shape, data_offsets: [begin, size] }] as const;
  });
  const withMetadata = Object.keys(metadata).length > 0 ? [['__metadata__', metadata] as const] : [];
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries([...withMetadata, ...described])));
  const headerBytes = Math.ceil(json.length / PREFIX_BYTES) * PREFIX_BYTES;
  const out = new Uint8Array(PREFIX_BYTES + headerBytes + size).fill(0x20, PREFIX_BYTES, PREFIX_BYTES + headerBytes);
  new DataView(out.buffer).setBigUint64(0, BigInt(headerBytes), true);
  out.set(json, PREFIX_BYTES);
  let at = PREFIX_BYTES + headerBytes;
  for (const [, { data }] of entries) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}

const isRecord = (value: unknown): value is Record<string, unknown> => value !== null && typeof value === 'object' && !Array.isArray(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
