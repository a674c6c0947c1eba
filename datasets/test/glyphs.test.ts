import { Rng } from '@atelier/tensor';
import { describe, expect, it } from 'vitest';
import { rasterise } from '../src/glyph-raster.ts';
import { gather, type ImageSet } from '../src/index.ts';
import { GLYPH_FACES, glyphs, type GlyphOptions } from '../src/node.ts';

const ALL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const STILL: GlyphOptions = { rotation: 0, shear: 0, stretch: 0, shift: 0, scale: [0.8, 0.8], faces: ['DejaVuSans'] };

/** Total ink of image i, in pixels. */
function ink(set: ImageSet, i: number): number {
  return gather(set, [i]).x.reduce((sum, v) => sum + (v + 1) / 2, 0);
}

describe('rasterise', () => {
  it('draws every letter and digit of every face inside its cell', () => {
    for (const face of GLYPH_FACES) {
      const rasters = rasterise([...ALL], face, 64);
      expect(rasters).toHaveLength(ALL.length);
      rasters.forEach(({ levels }, i) => {
        const { side, coverage } = levels[0]!;
        for (let k = 0; k < side; k++) {
          const border = [coverage[k]!, coverage[side * (side - 1) + k]!, coverage[side * k]!, coverage[side * k + side - 1]!];
          expect(Math.max(...border), `${ALL[i]} in ${face}`).toBe(0);
        }
      });
    }
  });

  it('keeps the ink in every halving', () => {
    const [raster] = rasterise(['g'], 'DejaVuSerif', 64);
    const total = raster!.levels.map(({ side, coverage }) => coverage.reduce((sum, c) => sum + c, 0) / side ** 2);
    for (const value of total) expect(value).toBeCloseTo(total[0]!, 6);
    expect(raster!.levels.map(({ side }) => side)).toEqual([96, 48, 24, 12, 6, 3]);
  });

  it('refuses a character without ink', () => {
    expect(() => rasterise([' '], 'DejaVuSans', 64)).toThrow(
      "glyphs: wanted characters that DejaVuSans draws, got ' ', which leaves no ink",
    );
  });
});

describe('glyphs', () => {
  it('makes white ink on black paper, one class a character, all classes equally likely', () => {
    const set = glyphs(new Rng(1), 2000);
    expect([set.count, set.height, set.width, set.channels, set.classes]).toEqual([2000, 28, 28, 1, 10]);
    expect(set.classNames).toEqual([...'0123456789']);
    for (let label = 0; label < 10; label++)
      expect(Math.abs(set.labels.filter((l) => l === label).length - 200)).toBeLessThan(5 * Math.sqrt(180));
    const { x } = gather(set, [0, 1, 2, 3]);
    expect(Math.min(...x)).toBe(-1);
    expect(Math.max(...x)).toBeGreaterThan(0.5);
    for (let i = 0; i < 200; i++) expect(ink(set, i)).toBeGreaterThan(20);
  });

  it('is a function of the seed, and the first images do not depend on the count', () => {
    const many = glyphs(new Rng('g'), 40);
    const few = glyphs(new Rng('g'), 15);
    expect(few.pixels).toEqual(many.pixels.slice(0, few.pixels.length));
    expect(few.labels).toEqual(many.labels.slice(0, 15));
    expect(glyphs(new Rng('h'), 40).pixels).not.toEqual(many.pixels);
  });

  it('without a random map gives one image a character, centred', () => {
    const set = glyphs(new Rng(2), 40, { ...STILL, characters: 'HO' });
    const first = [0, 1].map((label) => set.labels.indexOf(label));
    for (let i = 0; i < set.count; i++) {
      expect(gather(set, [i]).x).toEqual(gather(set, [first[set.labels[i]!]!]).x);
      let [sum, sx, sy] = [0, 0, 0];
      for (let k = 0; k < 784; k++) {
        const p = set.pixels[i * 784 + k]!;
        [sum, sx, sy] = [sum + p, sx + p * ((k % 28) + 0.5), sy + p * (Math.floor(k / 28) + 0.5)];
      }
      // H and O are symmetric, so their ink's centre is the box's.
      expect(sx / sum).toBeCloseTo(14, 0);
      expect(sy / sum).toBeCloseTo(14, 0);
    }
  });

  it('averages ink and does not drop it: images of other sizes have the same ink for their area', () => {
    const sizes = [12, 28, 56, 100].map((size) => {
      const set = glyphs(new Rng(3), 1, { ...STILL, characters: 'R', size });
      return ink(set, 0) / size ** 2;
    });
    for (const share of sizes) expect(share / sizes[1]!).toBeCloseTo(1, 1);
  });

  it('rotates about the centre without loss, and stretches and scales as asked', () => {
    const base = ink(glyphs(new Rng(4), 1, { ...STILL, characters: 'E' }), 0);
    const turned = glyphs(new Rng(4), 20, { ...STILL, rotation: 180, characters: 'E' });
    for (let i = 0; i < 20; i++) expect(ink(turned, i) / base).toBeCloseTo(1, 1);
    const sheared = glyphs(new Rng(4), 20, { ...STILL, shear: 0.4, characters: 'E' });
    for (let i = 0; i < 20; i++) expect(ink(sheared, i) / base).toBeCloseTo(1, 1);
    const half = ink(glyphs(new Rng(4), 1, { ...STILL, scale: [0.4, 0.4], characters: 'E' }), 0);
    expect(half / base).toBeCloseTo(0.25, 1);
  });

  it('can be told apart: the nearest class mean finds most labels of fresh images', () => {
    const [train, test] = [glyphs(new Rng('train'), 2000), glyphs(new Rng('test'), 500)];
    const means = new Float64Array(10 * 784);
    for (let i = 0; i < train.count; i++)
      for (let k = 0; k < 784; k++) means[train.labels[i]! * 784 + k]! += train.pixels[i * 784 + k]! / 200;
    let hits = 0;
    for (let i = 0; i < test.count; i++) {
      let [best, label] = [Infinity, -1];
      for (let c = 0; c < 10; c++) {
        let distance = 0;
        for (let k = 0; k < 784; k++) distance += (means[c * 784 + k]! - test.pixels[i * 784 + k]!) ** 2;
        if (distance < best) [best, label] = [distance, c];
      }
      if (label === test.labels[i]) hits++;
    }
    expect(hits / test.count).toBeGreaterThan(0.6);
  });

  it.each([
    [{ size: 2 }, 'size: wanted'],
    [{ size: 28.5 }, 'size: wanted'],
    [{ characters: '' }, 'characters: wanted letters A-Z, a-z and digits only'],
    [{ characters: 'A<' }, 'characters: wanted letters A-Z, a-z and digits only'],
    [{ characters: 'AA' }, 'characters: wanted each character once'],
    [{ faces: [] }, 'faces: wanted'],
    [{ scale: [0.9, 0.8] as [number, number] }, 'scale: wanted scale[0] <= scale[1]'],
    [{ rotation: -1 }, 'rotation: wanted'],
    [{ shift: NaN }, 'shift: wanted'],
    [{ colour: 1 } as GlyphOptions, "wanted only known keys, got 'colour'"],
  ])('refuses the options %j', (options, message) => {
    expect(() => glyphs(new Rng(1), 1, options)).toThrow(`glyphs: ${message}`);
  });

  it('refuses a face that does not exist and a count of 0', () => {
    expect(() => glyphs(new Rng(1), 1, { faces: ['Comic' as 'DejaVuSans'] })).toThrow('glyphs: faces.0: wanted one of');
    expect(() => glyphs(new Rng(1), 0)).toThrow('glyphs: count: wanted an integer at least 1, got 0');
  });
});
