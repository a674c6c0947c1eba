import { Rng } from '@atelier/tensor';
import { describe, expect, it } from 'vitest';
import { FIGURE_CLASSES, figures, gather } from '../src/index.ts';

describe('figures', () => {
  it('draws all classes alike often, within [-1, 1], and the same however many are asked for', () => {
    const set = figures(new Rng('figures'), 400, 16);
    expect(set).toMatchObject({ count: 400, height: 16, width: 16, channels: 1, classes: 4 });
    for (let label = 0; label < FIGURE_CLASSES.length; label++)
      expect(Math.abs(set.labels.filter((y) => y === label).length - 100)).toBeLessThan(40);
    expect(Math.max(...set.pixels)).toBeLessThanOrEqual(1);
    expect(Math.min(...set.pixels)).toBeGreaterThanOrEqual(-1);
    const few = figures(new Rng('figures'), 3, 16);
    expect(few.pixels).toEqual(set.pixels.subarray(0, 3 * 256));
  });

  it('draws figures of different kinds', () => {
    const train = figures(new Rng('train'), 800, 16);
    // Stripes and crosses cover less of what is around their centre than discs and squares do.
    const all = gather(
      train,
      Int32Array.from({ length: 800 }, (_, i) => i),
    );
    const over = (x: Float32Array, i: number): number => {
      const image = x.subarray(i * 256, (i + 1) * 256);
      const border = image.filter((_, k) => k < 16 || k >= 240);
      return image.reduce((sum, v) => sum + v, 0) / 256 - border.reduce((sum, v) => sum + v, 0) / 32;
    };
    const mean = FIGURE_CLASSES.map((_, label) => {
      const own = Array.from(all.y, (y, i) => (y === label ? over(all.x, i) : null)).filter((v) => v !== null);
      return own.reduce((a, b) => a + b, 0) / own.length;
    });
    expect(mean[1]).toBeGreaterThan(mean[2]! * 1.15);
    expect(mean[0]).toBeGreaterThan(mean[3]! * 1.3);
  });

  it('says what is wrong', () => {
    expect(() => figures(new Rng(0), 0, 8)).toThrow('figures: count: wanted an integer at least 1, got 0');
    expect(() => figures(new Rng(0), 1, 1.5)).toThrow('figures: side: wanted an integer at least 1, got 1.5');
  });
});
