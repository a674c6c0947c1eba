import { gunzipSync } from 'node:zlib';

/** Bytes and what an error message should call them. */
export type NamedBytes = { bytes: Uint8Array; where: string };

/**
 * Undoes gzip if the bytes begin with its magic number, and returns other bytes as they are. Checks the stream's own length and checksum.
 *
 * @param limit most bytes that may come out.
 * @returns the content; `where` says when later byte offsets count decompressed bytes.
 * @throws Error naming the file if it is a web page, or if the stream is cut short, damaged, larger than `limit`, or followed by other bytes.
 */
export function decompress({ bytes, where }: NamedBytes, limit: number): NamedBytes {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return refusePage({ bytes, where });
  let result: { buffer: Uint8Array; engine: { bytesWritten: number } };
  try {
    result = gunzipSync(bytes, { maxOutputLength: limit, info: true }) as unknown as typeof result;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE')
      throw new Error(`${where}: wanted at most ${limit} bytes after gunzip, got more`, { cause: error });
    const place = code === 'Z_BUF_ERROR' ? ` at byte ${bytes.length}` : '';
    throw new Error(`${where}${place}: wanted a whole gzip stream, got ${message}`, { cause: error });
  }
  const used = result.engine.bytesWritten;
  if (used !== bytes.length)
    throw new Error(`${where} at byte ${used}: wanted the end of the gzip stream, got ${bytes.length - used} more bytes`);
  return { bytes: result.buffer, where: `${where} (decompressed)` };
}

/** A server that refuses a download often answers with a web page, which is then saved under the name of the data. @throws Error if it is one */
export function refusePage({ bytes, where }: NamedBytes): NamedBytes {
  const start = new TextDecoder('latin1').decode(bytes.subarray(0, 512)).trimStart().toLowerCase();
  if (/^(<!doctype html|<html|<head|<\?xml)/.test(start))
    throw new Error(`${where}: wanted data, got a web page (HTML); the download failed, so get the file again`);
  return { bytes, where };
}
