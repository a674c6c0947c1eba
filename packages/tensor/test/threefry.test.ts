import { describe, expect, it } from 'vitest';
import { childKey, keySchedule, threefry, threefryBlocks } from '../src/threefry.ts';

describe('Threefry-4x32-20', () => {
  // The known answers that the authors publish with their reference implementation (Random123, kat_vectors).
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0, 0, 0],
      [0x9c6ca96a, 0xe17eae66, 0xfc10ecd4, 0x5256a7d8],
    ],
    [
      [-1, -1, -1, -1],
      [-1, -1, -1, -1],
      [0x2a881696, 0x57012287, 0xf6c7446e, 0xa16a6732],
    ],
    [
      [0xa4093822, 0x299f31d0, 0x082efa98, 0xec4e6c89],
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0x59cd1dbb, 0xb8879579, 0x86b5d00c, 0xac8b6d84],
    ],
  ] as [[number, number, number, number], [number, number, number, number], number[]][])('key %j, counter %j', (key, counter, answer) => {
    const out = new Int32Array(4);
    threefry(keySchedule(key), ...counter, out, 0);
    expect(Array.from(out, (word) => word >>> 0)).toEqual(answer);
  });

  it('carries the block number past 2^32', () => {
    const schedule = keySchedule([1, 2, 3, 4]);
    const run = new Int32Array(8);
    threefryBlocks(schedule, 2 ** 32 - 1, 2, run);
    const [last, first] = [new Int32Array(4), new Int32Array(4)];
    threefry(schedule, -1, 0, 0, 0, last, 0);
    threefry(schedule, 0, 1, 0, 0, first, 0);
    expect([...run]).toEqual([...last, ...first]);
  });

  it('gives different keys to texts that share a beginning, a padding or a length', () => {
    const texts = [
      'a',
      'a\0',
      'b',
      'aaaaaaaaaaaa',
      'aaaaaaaaaaaaa',
      'aaaaaaaaaaaa\0',
      'aaaaaaaaaaaaaaaaaaaaaaaa',
      'é',
      'e',
      '1',
      '10',
      '01',
    ];
    expect(new Set(texts.map((text) => childKey([0, 0, 0, 0], text).join())).size).toBe(texts.length);
  });
});
