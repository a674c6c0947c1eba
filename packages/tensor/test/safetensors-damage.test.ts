import { describe, expect, it } from 'vitest';
import { parseSafetensors } from '../src/index.ts';
import { entry, file } from './safetensors-bytes.ts';

describe('safetensors: every class of damage has its sentence', () => {
  const four = [0, 0, 128, 63];
  it.each<[string, Uint8Array, string]>([
    ['no bytes', new Uint8Array(0), 'f: wanted a safetensors file of at least 8 bytes, got 0'],
    ['half a length', new Uint8Array(5), 'f: wanted a safetensors file of at least 8 bytes, got 5'],
    ['a length beyond the file', file('{}', [], 3n), 'f: wanted a header of 3 bytes, got a file with 2 bytes after its length'],
    [
      'an absurd length',
      file('{}', [], 2n ** 63n),
      'f: wanted a safetensors header of at most 100000000 bytes, got a length of 9223372036854775808',
    ],
    ['no UTF-8', file(Uint8Array.of(0x7b, 0xff, 0x7d)), 'f: wanted a header in UTF-8, got bytes that are not'],
    ['a byte order mark', file('\ufeff{}'), "f: header: wanted JSON, got '\\ufeff{}'"],
    ['too many levels', file('['.repeat(5000) + ']'.repeat(5000)), 'f: header: wanted JSON of at most 100 levels, got more'],
    [
      'a name with the codes of a terminal',
      file('{"\\u001b[2J":1}'),
      "f: tensor '\\u001b[2J': wanted { dtype, shape, data_offsets }, got 1",
    ],
    ['a long value', file({ x: 'y'.repeat(9999) }), `f: tensor 'x': wanted { dtype, shape, data_offsets }, got '${'y'.repeat(200)}…'`],
    ['no JSON', file('{"x":'), 'f: header: wanted JSON, got \'{"x":\''],
    ['an empty header', file(''), 'f: header: wanted JSON, got an empty text'],
    ['a list as header', file('[]'), 'f: wanted a JSON object as header, got []'],
    ['null as header', file('null'), 'f: wanted a JSON object as header, got null'],
    [
      'a repeated tensor',
      file('{"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"\\u0078" : 1}', four),
      "f: header: wanted every key once, got 'x' twice",
    ],
    ['a repeated text', file('{"__metadata__":{"k":"{[:","k":"b"}}'), "f: header: wanted every key once, got 'k' twice"],
    ['a repeated field', file('{"x":{"dtype":"F32","shape":[1],"shape":[],"data_offsets":[0,4]}}', four), "got 'shape' twice"],
    ['metadata that is a list', file({ __metadata__: [] }), 'f: wanted an object of texts as __metadata__, got []'],
    ['metadata that is no text', file({ __metadata__: { step: 3 } }), "f: wanted a text as metadata 'step', got 3"],
    ['an entry that is no object', file({ x: 3 }), "f: tensor 'x': wanted { dtype, shape, data_offsets }, got 3"],
    [
      'no dtype',
      file({ x: { shape: [], data_offsets: [0, 4] } }, four),
      "f: tensor 'x': wanted dtype F32, F64, F16, BF16, I64, I32, U8, I8, BOOL, got nothing",
    ],
    ['an unknown dtype', file({ x: entry('F8_E4M3', [4], 0, 4) }, four), "got 'F8_E4M3'"],
    ['a dtype that every object has', file({ x: entry('toString', [4], 0, 4) }, four), "got 'toString'"],
    ['a negative size', file({ x: entry('F32', [-1], 0, 4) }, four), "f: tensor 'x': wanted a shape of whole numbers >= 0, got [-1]"],
    ['a fractional size', file({ x: entry('F32', [0.5, 2], 0, 4) }, four), 'wanted a shape of whole numbers >= 0, got [0.5,2]'],
    [
      'a shape that is no list',
      file({ x: { dtype: 'F32', shape: 1, data_offsets: [0, 4] } }, four),
      'wanted a shape of whole numbers >= 0, got 1',
    ],
    [
      'no offsets',
      file({ x: { dtype: 'F32', shape: [1] } }, four),
      "f: tensor 'x': wanted data_offsets [begin, end] with 0 <= begin <= end, got nothing",
    ],
    ['one offset', file({ x: { dtype: 'F32', shape: [1], data_offsets: [4] } }, four), 'got [4]'],
    ['offsets in reverse', file({ x: entry('F32', [1], 4, 0) }, four), 'got [4,0]'],
    ['a negative offset', file({ x: entry('F32', [1], -4, 0) }, four), 'got [-4,0]'],
    [
      'a shape too large for its bytes',
      file({ x: entry('F32', [2], 0, 4) }, four),
      "f: tensor 'x': wanted 8 bytes for F32 [2], got 4 between its offsets",
    ],
    ['a shape whose size overflows', file({ x: entry('F32', [2 ** 40, 2 ** 40], 0, 4) }, four), 'wanted 4.835703278458517e+24 bytes'],
    [
      'a dtype of another size',
      file({ x: entry('F64', [1], 0, 4) }, four),
      "f: tensor 'x': wanted 8 bytes for F64 [1], got 4 between its offsets",
    ],
    [
      'a gap before the first',
      file({ x: entry('U8', [2], 2, 4) }, four),
      "f: tensor 'x': wanted values from byte 0 on, where the values before it end, got 2",
    ],
    [
      'a gap between two',
      file({ x: entry('U8', [1], 0, 1), y: entry('U8', [2], 2, 4) }, four),
      "f: tensor 'y': wanted values from byte 1 on, where the values before it end, got 2",
    ],
    [
      'two that overlap',
      file({ x: entry('U8', [3], 0, 3), y: entry('U8', [2], 2, 4) }, four),
      "f: tensor 'y': wanted values from byte 3 on, where the values before it end, got 2",
    ],
    [
      'two on the same bytes',
      file({ x: entry('U8', [4], 0, 4), y: entry('U8', [4], 0, 4) }, four),
      "f: tensor 'y': wanted values from byte 4 on",
    ],
    [
      'an empty one inside another',
      file({ x: entry('U8', [4], 0, 4), y: entry('U8', [0], 2, 2) }, four),
      "f: tensor 'y': wanted values from byte 4 on",
    ],
    [
      'values cut short',
      file({ x: entry('F32', [2], 0, 8) }, four),
      "f: tensor 'x': wanted values up to byte 8, got a file that ends at byte 4 of the values",
    ],
    [
      'bytes after the last',
      file({ x: entry('F32', [1], 0, 4) }, [...four, 9, 9]),
      'f: wanted 4 bytes of values, got 6, of which the last 2 belong to no tensor',
    ],
    ['bytes without a tensor', file({}, four), 'f: wanted 0 bytes of values, got 4, of which the last 4 belong to no tensor'],
  ])('%s', (_, bytes, message) => {
    expect(() => parseSafetensors(bytes, 'f')).toThrow(message);
  });

  it('is damage only: a file with nothing, with blanks, with empty tensors and unknown fields is read', () => {
    expect(parseSafetensors(file('{}'), 'f')).toEqual({ tensors: {}, metadata: {} });
    expect(parseSafetensors(file('{"__metadata__":{}}   '), 'f')).toEqual({ tensors: {}, metadata: {} });
    const read = parseSafetensors(
      file({ b: entry('U8', [1], 0, 1), a: entry('F32', [0, 3], 1, 1), c: { ...entry('F32', [0], 0, 0), more: 1 } }, [5]),
      'f',
    );
    expect(Object.keys(read.tensors)).toEqual(['b', 'a', 'c']);
    expect(read.tensors['a']).toEqual({ dtype: 'float32', shape: [0, 3], data: new Float32Array(0) });
  });

  it('refuses what is not bytes', () => {
    expect(() => parseSafetensors('{}' as never, 'f')).toThrow('f: wanted the bytes of a safetensors file, got string');
    expect(() => parseSafetensors(null as never, 'f')).toThrow('got null');
  });
});
