import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decompress } from '../src/gzip.ts';
import { parseIdx, parseIdxPair } from '../src/node.ts';
import { idxFile } from './idx-file.ts';

const where = 'some/images.gz';
const parse = (bytes: Uint8Array, axes: number) => parseIdx({ bytes, where }, axes);

describe('parseIdx', () => {
  it('reads what was written, plain and gzipped', () => {
    const arrays = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 }).chain((dims) => {
      const size = dims.reduce((product, d) => product * d, 1);
      return fc.record({ dims: fc.constant(dims), data: fc.uint8Array({ minLength: size, maxLength: size }) });
    });
    fc.assert(
      fc.property(arrays, ({ dims, data }) => {
        const bytes = idxFile(dims, data);
        for (const file of [bytes, gzipSync(bytes)]) {
          const read = parse(file, dims.length);
          expect(read.dims).toEqual(dims);
          expect(Buffer.from(read.data)).toEqual(Buffer.from(data));
        }
      }),
    );
  });

  it('reads a view into a larger buffer', () => {
    const padded = new Uint8Array([9, 9, 9, ...idxFile([2, 1, 2], [1, 2, 3, 4])]);
    expect([...parse(padded.subarray(3), 3).data]).toEqual([1, 2, 3, 4]);
  });

  it('refuses a file cut at any byte, naming the file and the byte', () => {
    const bytes = idxFile([2, 2, 3], new Uint8Array(12).fill(7));
    for (let length = 0; length < bytes.length; length++) {
      expect(() => parse(bytes.subarray(0, length), 3)).toThrow(`${where} at byte ${length}: wanted `);
    }
  });

  it('refuses a gzip stream cut at any byte or followed by others', () => {
    const bytes = gzipSync(
      idxFile(
        [2, 2, 3],
        Uint8Array.from({ length: 12 }, (_, i) => i * 17),
      ),
    );
    for (let length = 3; length < bytes.length; length++) {
      expect(() => parse(bytes.subarray(0, length), 3)).toThrow(
        `${where} at byte ${length}: wanted a whole gzip stream, got unexpected end of file`,
      );
    }
    expect(() => parse(Buffer.concat([bytes, Buffer.from('tail')]), 3)).toThrow(
      `${where}: wanted a whole gzip stream, got incorrect header check`,
    );
    const padded = Buffer.concat([bytes, Buffer.alloc(4)]);
    expect(() => parse(padded, 3)).toThrow(`${where} at byte ${bytes.length}: wanted the end of the gzip stream, got 4 more bytes`);
  });

  it('refuses a damaged gzip stream', () => {
    const bytes = gzipSync(idxFile([2, 2, 3], new Uint8Array(12)));
    bytes[bytes.length - 6]! ^= 1; // in the checksum
    expect(() => parse(bytes, 3)).toThrow(`${where}: wanted a whole gzip stream, got incorrect data check`);
  });

  it('refuses more bytes than the limit out of few', () => {
    expect(() => decompress({ bytes: gzipSync(new Uint8Array(100_000)), where }, 1000)).toThrow(
      `${where}: wanted at most 1000 bytes after gunzip, got more`,
    );
  });

  it.each([
    ['labels for images', idxFile([9], new Uint8Array(9)), 'at byte 0: wanted the magic number 2051 (unsigned bytes, 3 axes), got 2049'],
    [
      'a wrong element type',
      Uint8Array.from([0, 0, 9, 3, ...new Uint8Array(12)]),
      'at byte 0: wanted the magic number 2051 (unsigned bytes, 3 axes), got 2307',
    ],
    ['another format', new TextEncoder().encode('P6 28 28 255 and more bytes'), 'at byte 0: wanted the magic number 2051'],
    ['a web page', new TextEncoder().encode('<html>not found</html>'), 'wanted data, got a web page'],
    ['an empty axis', idxFile([2, 0, 3], []), 'at byte 8: wanted an axis of at least 1, got 0'],
    [
      'bytes after the end',
      idxFile([1, 2, 2], [1, 2, 3, 4, 5, 6]),
      'at byte 20: wanted the end of the file after [1, 2, 2], got 2 more bytes',
    ],
    ['dimensions beyond the file', idxFile([0xffffffff, 0xffffffff, 0xffffffff], [1]), 'at byte 17: wanted'],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => parse(bytes, 3)).toThrow(where);
    expect(() => parse(bytes, 3)).toThrow(message);
  });

  it('says when a byte offset counts decompressed bytes', () => {
    expect(() => parse(gzipSync(idxFile([1, 2, 2], [1, 2, 3])), 3)).toThrow(
      `${where} (decompressed) at byte 19: wanted 20 bytes for [1, 2, 2]`,
    );
  });
});

describe('parseIdxPair', () => {
  const images = { bytes: idxFile([3, 2, 2], new Uint8Array(12)), where: 'images' };

  it('refuses counts that differ', () => {
    const labels = { bytes: idxFile([2], [0, 1]), where: 'labels' };
    expect(() => parseIdxPair(images, labels, 10)).toThrow('labels at byte 4: wanted 3 labels, as many as images has images, got 2');
  });

  it('refuses a label out of range by its byte', () => {
    const labels = { bytes: idxFile([3], [0, 9, 10]), where: 'labels' };
    expect(() => parseIdxPair(images, labels, 10)).toThrow('labels at byte 10: wanted a label below 10, got 10');
    expect([...parseIdxPair(images, labels, 11).labels]).toEqual([0, 9, 10]);
  });
});
