import { shown } from '@atelier/tensor';
import { inflateSync } from 'fflate';

/** Signatures, and sizes without names, of the parts of a zip archive. */
const [END, ENTRY, LOCAL] = [0x06054b50, 0x02014b50, 0x04034b50];
const [END_BYTES, ENTRY_BYTES, LOCAL_BYTES] = [22, 46, 30];

/**
 * The files of a zip archive below 4 GiB, stored or deflated, by name. Memory is taken as bytes come out, whatever sizes the archive states.
 *
 * @throws Error with one sentence if a part is missing or contradicts another, a name stands twice, or a checksum is wrong
 */
export function unzip(file: Uint8Array, where: string): Map<string, Uint8Array> {
  const bad = (words: string): Error => new Error(`${where}: wanted an .npz file, which is a zip archive, got ${words}`);
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const end = file.length - END_BYTES;
  // Archives of NumPy have no comment after their end.
  if (end < 0 || view.getUint32(end, true) !== END) throw bad('one without its end');
  const [count, size, directory] = [view.getUint16(end + 10, true), view.getUint32(end + 12, true), view.getUint32(end + 16, true)];
  if (view.getUint32(end + 4, true) !== 0 || view.getUint16(end + 8, true) !== count || directory + size !== end)
    throw bad('a directory that does not end where the archive ends');
  const files = new Map<string, Uint8Array>();
  let [at, used] = [directory, 0];
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > end || view.getUint32(at, true) !== ENTRY) throw bad(`a directory of fewer than ${count} entries`);
    const lengths = [28, 30, 32].map((field) => view.getUint16(at + field, true)) as [number, number, number];
    const after = at + ENTRY_BYTES + lengths[0] + lengths[1] + lengths[2];
    if (after > end) throw bad('an entry that is cut');
    const name = new TextDecoder().decode(file.subarray(at + ENTRY_BYTES, at + ENTRY_BYTES + lengths[0]));
    if (files.has(name)) throw bad(`${shown(name)} twice`);
    const local = view.getUint32(at + 42, true);
    if (local !== used) throw bad(`${shown(name)} at byte ${local}, wanted at ${used}`);
    const { content, next } = entryContent(file, { at, local, directory }, (words) => bad(`${shown(name)} ${words}`));
    files.set(name, content);
    [at, used] = [after, next];
  }
  if (at !== end || used !== directory) throw bad('bytes that belong to no file');
  return files;
}

type Place = { readonly at: number; readonly local: number; readonly directory: number };

/** The content of one file, and where the next one begins. */
function entryContent(
  file: Uint8Array,
  { at, local, directory }: Place,
  bad: (words: string) => Error,
): { content: Uint8Array; next: number } {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const [flags, method] = [view.getUint16(at + 8, true), view.getUint16(at + 10, true)];
  const [crc, packed, size] = [16, 20, 24].map((field) => view.getUint32(at + field, true)) as [number, number, number];
  if (local + LOCAL_BYTES > directory || view.getUint32(local, true) !== LOCAL) throw bad('without its header');
  const nameBytes = view.getUint16(at + 28, true);
  const begin = local + LOCAL_BYTES + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
  const names = [
    file.subarray(at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes),
    file.subarray(local + LOCAL_BYTES, local + LOCAL_BYTES + nameBytes),
  ];
  if (view.getUint16(local + 26, true) !== nameBytes || names[0]!.some((byte, i) => byte !== names[1]![i])) throw bad('with two names');
  if (begin + packed > directory) throw bad('that is cut');
  // Bit 0: encrypted; bit 3: its sizes stand behind it as well.
  if ((flags & 1) !== 0 || (method !== 0 && method !== 8)) throw bad(`packed by method ${method}${(flags & 1) === 0 ? '' : ', encrypted'}`);
  const stored = file.subarray(begin, begin + packed);
  let content: Uint8Array;
  try {
    content = method === 0 ? stored : inflateSync(stored);
  } catch (error) {
    throw bad(`that cannot be unpacked (${(error as Error).message})`);
  }
  if (content.length !== size) throw bad(`of ${content.length} bytes, wanted ${size}`);
  if (crc32(content) !== crc) throw bad('with a wrong checksum');
  return { content, next: begin + packed + ((flags & 8) === 0 ? 0 : descriptorBytes(view, begin + packed)) };
}

/** A descriptor of sizes behind a file: 12 or 16 bytes, with or without its signature. */
const descriptorBytes = (view: DataView, at: number): number =>
  at + 4 <= view.byteLength && view.getUint32(at, true) === 0x08074b50 ? 16 : 12;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  return rest;
});

/** The checksum of zip (CRC-32). */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 255]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
