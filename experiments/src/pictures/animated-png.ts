import { crc32 } from 'node:zlib';
import type { Picture } from '../runner/experiment.ts';

const SIGNATURE = 8;

/**
 * Pictures of one size, one after the other without end, as an animated PNG (a PNG with the chunks acTL, fcTL and fdAT of the PNG specification, third
 * edition). Programs that know only still PNGs show the first picture.
 *
 * The compressed pixels of the given PNGs are taken as they are.
 *
 * @throws Error for no picture, pictures of other sizes or colour types, or a rate that is not positive
 */
export function animatedPng(pictures: readonly Picture[], framesPerSecond: number): Picture {
  const [first] = pictures;
  if (first === undefined) throw new Error('animatedPng: wanted at least one picture, got none');
  if (!(framesPerSecond > 0 && framesPerSecond <= 100))
    throw new Error(`animatedPng: framesPerSecond: wanted a number above 0 and at most 100, got ${framesPerSecond}`);
  const stills = pictures.map(({ png }) => chunksOf(Buffer.from(png)));
  const header = headerOf(stills[0]!);
  const odd = stills.findIndex((still) => !headerOf(still).equals(header));
  if (odd >= 0) throw new Error(`animatedPng: wanted pictures of the size and colours of the first, got another kind at ${odd}`);

  let sequence = 0;
  const frames = stills.flatMap((still, f) => {
    const pixels = still.filter(({ type }) => type === 'IDAT').map(({ data }) => data);
    const control = chunk('fcTL', numbers(sequence++), header.subarray(0, 8), numbers(0, 0), delay(framesPerSecond), Buffer.alloc(2));
    return [control, ...pixels.map((data) => (f === 0 ? chunk('IDAT', data) : chunk('fdAT', numbers(sequence++), data)))];
  });
  const parts = [chunk('IHDR', header), chunk('acTL', numbers(stills.length, 0)), ...frames, chunk('IEND')];
  const png = new Uint8Array(Buffer.concat([Buffer.from(first.png.subarray(0, SIGNATURE)), ...parts]));
  return { png, width: first.width, height: first.height };
}

type Chunk = { type: string; data: Buffer };

/** The chunks of a PNG: length, type, data, checksum. */
function chunksOf(png: Buffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = SIGNATURE; at < png.length; at += 12 + png.readUInt32BE(at)) {
    const length = png.readUInt32BE(at);
    chunks.push({ type: png.toString('latin1', at + 4, at + 8), data: png.subarray(at + 8, at + 8 + length) });
  }
  return chunks;
}

/** Width and height, then bits and colours. */
const headerOf = (chunks: readonly Chunk[]): Buffer => chunks.find(({ type }) => type === 'IHDR')!.data;

function chunk(type: string, ...data: Buffer[]): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), ...data]);
  return Buffer.concat([numbers(body.length - 4), body, numbers(crc32(body))]);
}

function numbers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => bytes.writeUInt32BE(value, 4 * i));
  return bytes;
}

/** How long a frame is shown: a fraction of a second, two bytes each. */
function delay(framesPerSecond: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16BE(Math.round(1000 / framesPerSecond), 0);
  bytes.writeUInt16BE(1000, 2);
  return bytes;
}
