import type { NamedBytes } from './gzip.ts';

const BLOCK = 512;

/**
 * The regular files of a tar archive (ustar), by path; folders and other entries are left out.
 *
 * @throws Error naming the archive and the byte offset if a header's checksum is wrong or an entry is cut short.
 */
export function untar({ bytes, where }: NamedBytes): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (let at = 0; at + BLOCK <= bytes.length;) {
    const header = bytes.subarray(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) return files;
    if (octal(header, 148, 8) !== checksum(header))
      throw new Error(`${where} at byte ${at}: wanted a tar header, got one with a wrong checksum`);
    const size = octal(header, 124, 12);
    const end = at + BLOCK + size;
    if (!(end <= bytes.length))
      throw new Error(`${where} at byte ${at}: wanted an entry that ends at byte ${end}, got an archive of ${bytes.length} bytes`);
    const type = String.fromCharCode(header[156]!);
    const [prefix, name] = [text(header, 345, 155), text(header, 0, 100)];
    if (type === '0' || type === '\0') files.set(prefix ? `${prefix}/${name}` : name, bytes.subarray(at + BLOCK, end));
    at = at + BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  throw new Error(`${where} at byte ${bytes.length}: wanted the two empty blocks that end a tar archive, got the end of the file`);
}

function text(header: Uint8Array, at: number, length: number): string {
  const field = header.subarray(at, at + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

function octal(header: Uint8Array, at: number, length: number): number {
  const digits = text(header, at, length).trim();
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : NaN;
}

/** Sum of the header's bytes with the checksum field itself read as spaces. */
function checksum(header: Uint8Array): number {
  return header.reduce((sum, byte, i) => sum + (i >= 148 && i < 156 ? 0x20 : byte), 0);
}
