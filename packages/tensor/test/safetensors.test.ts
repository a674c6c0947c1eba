import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeSafetensors, parseSafetensors, type HostTensor } from '../src/index.ts';
import { bytesOf, entry, file } from './safetensors-bytes.ts';

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
  // JSON.parse of V8 13.6 (Node 24) takes the key "\n" for the key "\\" once it has seen that one at the same place, so a lone backslash is not
  // drawn beside others.
  const name = fc
    .oneof(fc.string({ unit: 'binary' }), fc.constantFrom('__proto__', 'constructor', '0', '10', 'a.b/c', '"', 'a\\b', ']}', 'ü:'))
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

  it('gives back a name that is a backslash', () => {
    const one: HostTensor = { dtype: 'int32', shape: [], data: Int32Array.of(7) };
    expect(parseSafetensors(encodeSafetensors({ '\\': one }), 'f').tensors).toEqual({ '\\': one });
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
