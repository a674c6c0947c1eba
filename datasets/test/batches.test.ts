import { Rng } from '@atelier/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { batches, gather, imageSet, slice, type BatchState, type ImageSet } from '../src/index.ts';

/** Image i is [1, 2, 1] with pixels i/100 and -i/100 and label i mod 5. */
function numbered(count: number): ImageSet {
  const pixels = Float32Array.from({ length: 2 * count }, (_, i) => ((i & 1 ? -1 : 1) * (i >> 1)) / 100);
  const labels = Int32Array.from({ length: count }, (_, i) => i % 5);
  return imageSet({ name: 'numbered', pixels, labels, count, height: 1, width: 2, channels: 1, classes: 5, classNames: [...'abcde'] });
}
const idsOf = (x: Float32Array): number[] => [...x].filter((_, i) => i % 2 === 0).map((v) => Math.round(v * 100));
const sizes = { count: fc.integer({ min: 1, max: 40 }), batchSize: fc.integer({ min: 1, max: 60 }), seed: fc.nat() };

describe('batches', () => {
  it('shows every image once in each pass, with its label, in full batches', () => {
    fc.assert(
      fc.property(fc.record(sizes), ({ count, batchSize, seed }) => {
        const cursor = batches(numbered(count), batchSize, new Rng(seed));
        const seen: number[] = [];
        while (seen.length < 3 * count) {
          const { x, y } = cursor.next();
          expect([x.length, y.length]).toEqual([2 * batchSize, batchSize]);
          const ids = idsOf(x);
          ids.forEach((id, row) => expect(y[row]).toBe(id % 5));
          seen.push(...ids);
        }
        const sorted = Array.from({ length: count }, (_, i) => i);
        for (let pass = 0; pass < 3; pass++) expect(seen.slice(pass * count, (pass + 1) * count).sort((a, b) => a - b)).toEqual(sorted);
      }),
    );
  });

  it('goes on exactly from a state, through JSON and whatever the seed of the new cursor', () => {
    fc.assert(
      fc.property(fc.record({ ...sizes, before: fc.nat({ max: 20 }) }), ({ count, batchSize, seed, before }) => {
        const cursor = batches(numbered(count), batchSize, new Rng(seed));
        for (let k = 0; k < before; k++) cursor.next();
        const state = JSON.parse(JSON.stringify(cursor.state())) as BatchState;
        const resumed = batches(numbered(count), batchSize, new Rng('another'));
        resumed.restore(state);
        expect(resumed.state()).toEqual(cursor.state());
        for (let k = 0; k < 5; k++) expect(resumed.next()).toEqual(cursor.next());
      }),
    );
  });

  it('orders passes and seeds differently, and does not draw from the stream it is given', () => {
    const rng = new Rng(1);
    const cursor = batches(numbered(100), 100, rng);
    const [first, second] = [idsOf(cursor.next().x), idsOf(cursor.next().x)];
    expect(second).not.toEqual(first);
    expect(idsOf(batches(numbered(100), 100, new Rng(2)).next().x)).not.toEqual(first);
    expect(rng.state()).toEqual(new Rng(1).state());
  });

  it.each([0, -3, 2.5, NaN])('refuses a batch size of %s', (batchSize) => {
    expect(() => batches(numbered(3), batchSize, new Rng(1))).toThrow(`got ${batchSize}`);
  });

  it('refuses the state of another set, a damaged state and no state, and stays where it was', () => {
    const cursor = batches(numbered(10), 4, new Rng(1));
    cursor.next();
    const state = cursor.state();
    const restore = (change: object): (() => void) => {
      return () => cursor.restore({ ...state, ...change });
    };
    expect(restore({ count: 11 })).toThrow('batches.restore: wanted the state of a cursor over 10 images, got one over 11');
    expect(restore({ position: 11 })).toThrow('wanted a position in [0, 10], got 11');
    expect(restore({ position: -1 })).toThrow("at 'position'");
    expect(restore({ epoch: 0.5 })).toThrow("at 'epoch'");
    expect(restore({ rng: {} })).toThrow('Rng.restore');
    expect(() => cursor.restore(undefined as unknown as BatchState)).toThrow('batches.restore: wanted a state');
    expect(cursor.state()).toEqual(state);
  });
});

describe('image sets', () => {
  it('maps bytes 0 … 255 to [-1, 1] evenly, in the order of the indices', () => {
    const pixels = Uint8Array.from([0, 255, 51, 204]);
    const set = imageSet({
      name: 'bytes',
      pixels,
      labels: Int32Array.of(0, 1),
      count: 2,
      height: 1,
      width: 2,
      channels: 1,
      classes: 2,
      classNames: ['a', 'b'],
    });
    const { x, y } = gather(set, [1, 0, 1]);
    [-0.6, 0.6, -1, 1, -0.6, 0.6].forEach((value, i) => expect(x[i]).toBeCloseTo(value, 6));
    expect([...y]).toEqual([1, 0, 1]);
  });

  it('slices without copying', () => {
    const set = numbered(10);
    const part = slice(set, 3, 5);
    expect(part.count).toBe(2);
    expect(idsOf(gather(part, [0, 1]).x)).toEqual([3, 4]);
    expect([...part.labels]).toEqual([3, 4]);
    expect(part.pixels.buffer).toBe(set.pixels.buffer);
  });

  it('refuses indices and bounds outside the set', () => {
    const set = numbered(3);
    for (const index of [3, -1, 0.5, NaN])
      expect(() => gather(set, [0, index])).toThrow(`gather: index: wanted an integer at least 0 and below 3, got ${index}`);
    for (const [from, to] of [
      [0, 4],
      [2, 2],
      [-1, 2],
      [0, 1.5],
    ] as const)
      expect(() => slice(set, from, to)).toThrow('slice: wanted whole numbers');
  });

  it.each([
    [{ count: 4 }, 'wanted 8 pixels ([4, 1, 2, 1]), got 6'],
    [{ width: 0 }, 'width: wanted an integer at least 1, got 0'],
    [{ labels: Int32Array.of(0, 1) }, 'wanted 3 labels, got 2'],
    [{ labels: Int32Array.of(0, 5, 1) }, 'wanted labels in [0, 5), got 5 for image 1'],
    [{ labels: Int32Array.of(0, 1, -1) }, 'got -1 for image 2'],
    [{ classNames: ['a'] }, 'wanted 5 class names, got 1'],
  ])('refuses a set whose fields disagree: %j', (change, message) => {
    expect(() => imageSet({ ...numbered(3), ...change })).toThrow(`imageSet 'numbered': `);
    expect(() => imageSet({ ...numbered(3), ...change })).toThrow(message);
  });
});
