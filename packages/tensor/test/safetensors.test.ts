import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeSafetensors, parseSafetensors, type HostTensor } from '../src/index.ts';

/** A file from its parts, none of which needs to be right. */
function file(header: unknown, values: ArrayLike<number> = [], length?: bigint): Uint8Array {
  const json =
    typeof header === 'string'
      ? new TextEncoder().encode(header)
      : header instanceof Uint8Array
        ? header
        : new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(8 + json.length + values.length);
  new DataView(out.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  out.set(json, 8);
  out.set(Array.from(values), 8 + json.length);
  return out;
}

const bytesOf = (array: { buffer: ArrayBufferLike }): Uint8Array => new Uint8Array(array.buffer);
const entry = (dtype: string, shape: number[], begin: number, end: number): object => ({ dtype, shape, data_offsets: [begin, end] });

/** One tensor of a stored type through the parser. */
function decode(dtype: string, values: Uint8Array, shape: number[]): HostTensor {
  return parseSafetensors(file({ x: entry(dtype, shape, 0, values.length) }, values), 'f').tensors['x']!;
}

const float32Bits = (x: ArrayLike<number>): number[] => [...new Uint32Array(Float32Array.from(x).buffer)];

describe('safetensors round trip', () => {
  const shape = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 });
  const size = (s: number[]): number => s.reduce((a, b) => a * b, 1);
  const tensor: fc.Arbitrary<HostTensor> = shape.chain((s) => {
    const of = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(item, { minLength: size(s), maxLength: size(s) });
    return fc.oneof(
      of(fc.float()).map((v): HostTensor => ({ dtype: 'float32', shape: s, data: Float32Array.from(v) })),
      of(fc.integer()).map((v): HostTensor => ({ dtype: 'int32', shape: s, data: Int32Array.from(v) })),
      of(fc.boolean()).map((v): HostTensor => ({ dtype: 'bool', shape: s, data: Uint8Array.from(v, Number) })),
    );
  });
  const name = fc
    .oneof(fc.string({ unit: 'binary' }), fc.constantFrom('__proto__', 'constructor', '0', '10', 'a.b/c', '"', '\\', ']}', 'ü:'))
    .filter((n) => n !== '__metadata__');

  it('gives back every name, shape, value and text, at any alignment, and equal bytes for equal input', () => {
    fc.assert(
      fc.property(
        fc.dictionary(name, tensor),
        fc.dictionary(name, fc.string({ unit: 'binary' })),
        fc.integer({ min: 0, max: 7 }),
        (tensors, metadata, offset) => {
          const bytes = encodeSafetensors(tensors, metadata);
          expect(encodeSafetensors(tensors, metadata)).toEqual(bytes);
          const moved = new Uint8Array(bytes.length + offset).subarray(offset);
          moved.set(bytes);
          const read = parseSafetensors(moved, 'f');
          expect(Object.keys(read.tensors).sort()).toEqual(Object.keys(tensors).sort());
          for (const [key, host] of Object.entries(tensors)) {
            const got = read.tensors[key]!;
            expect(got.dtype).toBe(host.dtype);
            expect(got.shape).toEqual(host.shape);
            // Object.is for each element: NaN and -0 survive.
            expect(got.data).toEqual(host.data);
          }
          expect(Object.entries(read.metadata).sort()).toEqual(Object.entries(metadata).sort());
        },
      ),
      { numRuns: 200 },
    );
  });

  it('aligns values to their size', () => {
    const bytes = encodeSafetensors({
      a: { dtype: 'bool', shape: [3], data: Uint8Array.of(1, 0, 1) },
      b: { dtype: 'float32', shape: [1], data: Float32Array.of(2) },
    });
    const header = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    expect(header % 8).toBe(0);
    const described = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + header)));
    expect(described).toEqual({ b: entry('F32', [1], 0, 4), a: entry('BOOL', [3], 4, 7) });
  });

  it('refuses a damaged or cut file, or reads other values, for every single cut and flipped bit of the header', () => {
    const tensors: Record<string, HostTensor> = {
      w: { dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
      n: { dtype: 'int32', shape: [1], data: Int32Array.of(7) },
    };
    const bytes = encodeSafetensors(tensors);
    for (let length = 0; length < bytes.length; length++)
      expect(() => parseSafetensors(bytes.subarray(0, length), 'cut')).toThrow(/^cut: /);
    const header = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
    for (let bit = 0; bit < 8 * header; bit++) {
      const damaged = bytes.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      let read: unknown;
      try {
        read = parseSafetensors(damaged, 'flipped').tensors;
      } catch (error) {
        expect((error as Error).message).toMatch(/^flipped: /);
        continue;
      }
      // A flipped bit in a name, or a dtype or shape of the same size, is still a valid file; it must not pass for the original one, unless the bit
      // turned padding into another kind of blank.
      if (bit >> 3 < header - 1 && damaged[bit >> 3] !== 0x20 && bytes[bit >> 3] !== 0x20) expect(read).not.toEqual(tensors);
    }
  });
});

describe('safetensors element types', () => {
  it('F16: exact, with subnormals, infinities, NaN and both zeros', () => {
    const bits = Uint16Array.of(0x3c00, 0xc000, 0x3555, 0x0001, 0x03ff, 0x0400, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x0000, 0x8000);
    const wanted = [1, -2, 0.333251953125, 2 ** -24, 1023 * 2 ** -24, 2 ** -14, 65504, Infinity, -Infinity, NaN, 0, -0];
    expect(decode('F16', bytesOf(bits), [12])).toEqual({ dtype: 'float32', shape: [12], data: Float32Array.from(wanted) });
  });

  it('BF16: the upper half of a float32', () => {
    const bits = Uint16Array.of(0x3f80, 0xc000, 0x4049, 0x7f80, 0xff80, 0x0001, 0x8000);
    const read = decode('BF16', bytesOf(bits), [7]);
    expect(float32Bits(read.data)).toEqual([...bits].map((b) => (b << 16) >>> 0));
    expect([...read.data.slice(0, 5)]).toEqual([1, -2, 3.140625, Infinity, -Infinity]);
    expect(Number.isNaN(decode('BF16', Uint8Array.of(0xc0, 0x7f), [1]).data[0])).toBe(true);
  });

  it('F64: rounded to float32, refused where float32 has no finite value for it', () => {
    expect(decode('F64', bytesOf(Float64Array.of(0.1, -1e-50, NaN, -Infinity)), [2, 2]).data).toEqual(
      Float32Array.of(0.1, -0, NaN, -Infinity),
    );
    expect(() => decode('F64', bytesOf(Float64Array.of(0, 1e39)), [2])).toThrow(
      "f: tensor 'x': wanted F64 values within float32, got 1e+39 at index 1",
    );
  });

  it('I64: within int32, refused beyond', () => {
    expect(decode('I64', bytesOf(BigInt64Array.of(0n, -1n, 2n ** 31n - 1n, -(2n ** 31n))), [4])).toEqual({
      dtype: 'int32',
      shape: [4],
      data: Int32Array.of(0, -1, 2147483647, -2147483648),
    });
    for (const value of [2n ** 31n, -(2n ** 31n) - 1n, 2n ** 32n, 2n ** 62n]) {
      expect(() => decode('I64', bytesOf(BigInt64Array.of(5n, value)), [2])).toThrow(
        `f: tensor 'x': wanted I64 values within int32, got ${value} at index 1`,
      );
    }
  });

  it('I32, U8, I8, BOOL and F32', () => {
    expect(decode('I32', bytesOf(Int32Array.of(-5, 6)), [2]).data).toEqual(Int32Array.of(-5, 6));
    expect(decode('U8', Uint8Array.of(0, 255), [2])).toEqual({ dtype: 'int32', shape: [2], data: Int32Array.of(0, 255) });
    expect(decode('I8', Uint8Array.of(0x80, 0x7f), [2])).toEqual({ dtype: 'int32', shape: [2], data: Int32Array.of(-128, 127) });
    expect(decode('BOOL', Uint8Array.of(0, 1), [2])).toEqual({ dtype: 'bool', shape: [2], data: Uint8Array.of(0, 1) });
    expect(() => decode('BOOL', Uint8Array.of(0, 2), [2])).toThrow("f: tensor 'x': wanted 0 or 1 as BOOL, got 2 at index 1");
    expect(float32Bits(decode('F32', bytesOf(Float32Array.of(1.5)), []).data)).toEqual([0x3fc00000]);
  });

  it('gives a copy: the bytes of the file may change afterwards', () => {
    const bytes = file({ x: entry('F32', [1], 0, 4) }, bytesOf(Float32Array.of(3)));
    const { tensors } = parseSafetensors(bytes, 'f');
    bytes.fill(0);
    expect(tensors['x']!.data[0]).toBe(3);
    const buffer = Buffer.from(file({ x: entry('F32', [1], 0, 4), y: entry('F16', [1], 4, 6) }, [...bytesOf(Float32Array.of(3)), 0, 0x3c]));
    const read = parseSafetensors(buffer, 'f').tensors;
    buffer.fill(0);
    expect([[...read['x']!.data], [...read['y']!.data]]).toEqual([[3], [1]]);
  });
});

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
    ['a byte order mark', file('\ufeff{}'), 'f: wanted a header in JSON, got text that is not'],
    ['no JSON', file('{"x":'), 'f: wanted a header in JSON, got text that is not'],
    ['an empty header', file(''), 'f: wanted a header in JSON, got text that is not'],
    ['a list as header', file('[]'), 'f: wanted a JSON object as header, got []'],
    ['null as header', file('null'), 'f: wanted a JSON object as header, got null'],
    [
      'a repeated tensor',
      file('{"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"\\u0078" : 1}', four),
      "f: wanted every name in the header once, got 'x' twice",
    ],
    ['a repeated text', file('{"__metadata__":{"k":"{[:","k":"b"}}'), "f: wanted every name in the header once, got 'k' twice"],
    ['a repeated field', file('{"x":{"dtype":"F32","shape":[1],"shape":[],"data_offsets":[0,4]}}', four), "got 'shape' twice"],
    ['metadata that is a list', file({ __metadata__: [] }), 'f: wanted an object of texts as __metadata__, got []'],
    ['metadata that is no text', file({ __metadata__: { step: 3 } }), "f: wanted a text as metadata 'step', got 3"],
    ['an entry that is no object', file({ x: 3 }), "f: tensor 'x': wanted { dtype, shape, data_offsets }, got 3"],
    [
      'no dtype',
      file({ x: { shape: [], data_offsets: [0, 4] } }, four),
      "f: tensor 'x': wanted dtype F32, F64, F16, BF16, I64, I32, U8, I8, BOOL, got undefined",
    ],
    ['an unknown dtype', file({ x: entry('F8_E4M3', [4], 0, 4) }, four), 'got "F8_E4M3"'],
    ['a dtype that every object has', file({ x: entry('toString', [4], 0, 4) }, four), 'got "toString"'],
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
      "f: tensor 'x': wanted data_offsets [begin, end] with 0 <= begin <= end, got undefined",
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

describe('encodeSafetensors refuses', () => {
  const good: HostTensor = { dtype: 'float32', shape: [2], data: Float32Array.of(1, 2) };
  it.each<[string, () => unknown, string]>([
    ['no record', () => encodeSafetensors(null as never), 'encodeSafetensors: wanted a record of tensors, got null'],
    ['the reserved name', () => encodeSafetensors({ __metadata__: good }), "wanted a tensor name other than '__metadata__'"],
    [
      'no tensor',
      () => encodeSafetensors({ x: undefined as never }),
      "encodeSafetensors: tensor 'x': wanted { dtype, shape, data }, got undefined",
    ],
    [
      'an unknown dtype',
      () => encodeSafetensors({ x: { ...good, dtype: 'string' as never } }),
      'tensor \'x\': wanted dtype float32, int32 or bool, got "string"',
    ],
    [
      'a shape that is none',
      () => encodeSafetensors({ x: { ...good, shape: [1.5] } }),
      "tensor 'x': wanted a shape of whole numbers >= 0, got [1.5]",
    ],
    [
      'a count that contradicts the shape',
      () => encodeSafetensors({ x: { ...good, shape: [3] } }),
      "tensor 'x': wanted 3 values for shape [3], got 2",
    ],
    [
      'an array of another type',
      () => encodeSafetensors({ x: { ...good, data: Int32Array.of(1, 2) } }),
      "tensor 'x': wanted Float32Array data for dtype float32, got Int32Array",
    ],
    [
      'a bool that is none',
      () => encodeSafetensors({ x: { dtype: 'bool', shape: [2], data: Uint8Array.of(0, 7) } }),
      "tensor 'x': wanted 0 or 1 as bool, got 7 at index 1",
    ],
    [
      'metadata that is no text',
      () => encodeSafetensors({ x: good }, { step: 3 as never }),
      "encodeSafetensors: wanted a text as metadata 'step', got 3",
    ],
  ])('%s', (_, act, message) => {
    expect(act).toThrow(message);
  });
});
