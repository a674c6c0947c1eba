import { Rng } from '@atelier/tensor';
import { describe, expect, it } from 'vitest';
import { drawShape, gather, SHAPE_CLASSES, shapes } from '../src/index.ts';

const sigmoid = (a: number): number => 1 / (1 + Math.exp(-a));
const at = (image: Float32Array, x: number, y: number): number => image[8 * y + x]!;

describe('drawShape', () => {
  const common = { cx: 3, cy: 4, size: 2, contrast: 0.75 };

  it('disc: σ(3(s - d))', () => {
    const image = drawShape({ ...common, label: 0 });
    expect(at(image, 3, 4)).toBeCloseTo(0.8 * (1.5 * sigmoid(6) - 1), 6);
    // (6, 0): d = 5
    expect(at(image, 6, 0)).toBeCloseTo(0.8 * (1.5 * sigmoid(-9) - 1), 6);
  });

  it('ring: exp(-((d - s)/0.6)²)', () => {
    const image = drawShape({ ...common, label: 1 });
    expect(at(image, 5, 4)).toBeCloseTo(0.8 * 0.5, 6); // d = s: pattern 1
    expect(at(image, 3, 4)).toBeCloseTo(0.8 * (1.5 * Math.exp(-((2 / 0.6) ** 2)) - 1), 6);
  });

  it('horizontal bar: σ(3(0.9 - |y - cy|))·σ(3(s + 0.8 - |x - cx|))', () => {
    const image = drawShape({ ...common, label: 2 });
    expect(at(image, 5, 3)).toBeCloseTo(0.8 * (1.5 * sigmoid(-0.3) * sigmoid(2.4) - 1), 6);
    expect(at(image, 5, 4)).toBeGreaterThan(at(image, 3, 6));
  });

  it('vertical bar: the horizontal one with x and y swapped', () => {
    const vertical = drawShape({ ...common, label: 3 });
    const horizontal = drawShape({ ...common, cx: common.cy, cy: common.cx, label: 2 });
    for (let i = 0; i < 64; i++) expect(vertical[i]).toBe(horizontal[8 * (i % 8) + Math.floor(i / 8)]);
  });

  it('refuses a class that does not exist', () => {
    expect(() => drawShape({ ...common, label: 4 })).toThrow('drawShape: wanted a label in [0, 4), got 4');
  });
});

describe('shapes', () => {
  it('makes 8 x 8 x 1 images of four equally likely classes in [-0.8, 0.8]', () => {
    const set = shapes(new Rng(1), 4000);
    expect([set.count, set.height, set.width, set.channels, set.classes]).toEqual([4000, 8, 8, 1, 4]);
    expect(set.classNames).toEqual(SHAPE_CLASSES);
    const { x, y } = gather(set, [0, 1, 2]);
    expect(x).toEqual(set.pixels.subarray(0, 192));
    expect(y).toEqual(set.labels.subarray(0, 3));
    const counts = [0, 1, 2, 3].map((label) => set.labels.filter((l) => l === label).length);
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(5 * Math.sqrt(750));
    expect(set.pixels.every((v) => v >= -0.8001 && v <= 0.8)).toBe(true);
  });

  it('draws the ranges of centre, size and contrast: the mean of the ink of discs follows from them', () => {
    // Far from the border a disc's ink is contrast · ∫σ(3(s - d)) ≈ contrast·π(s² + π²/27), E s² = 1.9² + 1.4²/12 and E contrast = 0.8.
    const set = shapes(new Rng(2), 8000);
    let [ink, discs] = [0, 0];
    for (let i = 0; i < set.count; i++) {
      if (set.labels[i] !== 0) continue;
      discs++;
      ink += gather(set, [i]).x.reduce((sum, v) => sum + (v / 0.8 + 1) / 2, 0);
    }
    expect(ink / discs / (0.8 * Math.PI * (1.9 ** 2 + 1.4 ** 2 / 12 + Math.PI ** 2 / 27))).toBeCloseTo(1, 1);
  });

  it('is a function of the seed, and the first images do not depend on the count', () => {
    const many = shapes(new Rng('s'), 50);
    expect(shapes(new Rng('s'), 10).pixels).toEqual(many.pixels.slice(0, 640));
    expect(shapes(new Rng('t'), 50).pixels).not.toEqual(many.pixels);
  });

  it.each([0, -1, 1.5, NaN])('refuses a count of %s', (count) => {
    expect(() => shapes(new Rng(1), count)).toThrow('shapes: count: wanted an integer at least 1');
  });
});
