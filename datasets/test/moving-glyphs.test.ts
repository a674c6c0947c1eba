import { Rng } from '@atelier/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { batches, gather, slice, type VideoSet } from '../src/index.ts';
import { movingGlyphs, type MovingGlyphOptions } from '../src/node.ts';

/** Centre and amount of the ink of frame f of video n, in pixels. */
function ink(set: VideoSet, n: number, f: number): { x: number; y: number; amount: number } {
  const size = set.height * set.width;
  const at = (n * set.frames + f) * size;
  let [amount, x, y] = [0, 0, 0];
  for (let k = 0; k < size; k++) {
    const p = set.pixels[at + k]! / 255;
    amount += p;
    x += p * ((k % set.width) + 0.5);
    y += p * (Math.floor(k / set.width) + 0.5);
  }
  return { x: x / amount, y: y / amount, amount };
}

const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 });

describe('movingGlyphs', () => {
  it('is a function of the seed; later videos and later frames do not change the first ones', () => {
    const size = { height: 20, width: 28 };
    const long = movingGlyphs(new Rng('m'), 6, { ...size, frames: 7, spin: 5 });
    const short = movingGlyphs(new Rng('m'), 4, { ...size, frames: 3, spin: 5 });
    expect(short.labels).toEqual(long.labels.slice(0, 4));
    for (let n = 0; n < 4; n++) {
      const video = (set: VideoSet) => set.pixels.slice(n * set.frames * 560, (n * set.frames + 3) * 560);
      expect(video(short)).toEqual(video(long));
    }
    expect(movingGlyphs(new Rng('n'), 6, { ...size, frames: 7, spin: 5 }).pixels).not.toEqual(long.pixels);
  });

  it('moves by the asked speed in a straight line, and is reflected at the borders', () => {
    // Its square frame lets O move by 32 - 0.5 em; at speed 1.6 pixels it needs more than ten frames for one way.
    fc.assert(
      fc.property(seeds, (seed) => {
        const set = movingGlyphs(new Rng(seed), 2, {
          frames: 40,
          characters: 'O',
          speed: [0.05, 0.05],
          scale: [0.5, 0.5],
          rotation: 0,
        });
        for (let n = 0; n < 2; n++) {
          const path = Array.from({ length: 40 }, (_, f) => ink(set, n, f));
          const steps = path.slice(1).map(({ x, y }, f) => [x - path[f]!.x, y - path[f]!.y] as const);
          // |component| is the same in all frames but those that contain a reflection.
          for (const axis of [0, 1] as const) {
            const sizes = steps.map((step) => Math.abs(step[axis])).sort((a, b) => a - b);
            const usual = sizes[20]!;
            expect(sizes.filter((size) => Math.abs(size - usual) > 0.1).length).toBeLessThan(8);
          }
          const whole = steps.map(([dx, dy]) => Math.hypot(dx, dy)).sort((a, b) => a - b);
          expect(whole[20]!).toBeCloseTo(1.6, 0);
          for (const { x, y } of path) for (const place of [x, y]) expect(Math.abs(place - 16)).toBeLessThan(16 - 4);
          const amounts = path.map(({ amount }) => amount / path[0]!.amount);
          expect(Math.min(...amounts)).toBeGreaterThan(0.9);
        }
      }),
      { numRuns: 10 },
    );
  });

  it('gives the asked sizes and all classes, and batches of videos', () => {
    const set = movingGlyphs(new Rng(1), 300, { frames: 2, height: 12, width: 18, characters: 'abc' });
    expect([set.count, set.frames, set.height, set.width, set.channels, set.classes]).toEqual([300, 2, 12, 18, 1, 3]);
    for (let label = 0; label < 3; label++) expect(set.labels.filter((l) => l === label).length).toBeGreaterThan(50);
    const { x, y } = batches(set, 5, new Rng(0)).next();
    expect([x.length, y.length, Math.min(...x)]).toEqual([5 * 2 * 12 * 18, 5, -1]);
    expect(gather(slice(set, 7, 9), [1])).toEqual(gather(set, [8]));
  });

  it('stands still at speed 0', () => {
    const set = movingGlyphs(new Rng(2), 1, { frames: 3, speed: [0, 0], height: 4, width: 4 });
    expect(set.pixels.slice(0, 16)).toEqual(set.pixels.slice(32));
  });

  it.each([
    [{ frames: 0 }, 'frames: wanted'],
    [{ height: 3 }, 'height: wanted'],
    [{ width: 2.5 }, 'width: wanted'],
    [{ characters: 'é' }, 'characters: wanted letters A-Z, a-z and digits only'],
    [{ speed: [0.2, 0.1] as [number, number] }, 'speed: wanted the smaller number first'],
    [{ speed: [0, NaN] as [number, number] }, 'speed.1: wanted'],
    [{ spin: -1 }, 'spin: wanted'],
    [{ colour: 1 } as MovingGlyphOptions, "wanted only known keys, got 'colour'"],
  ])('refuses the options %j', (options, message) => {
    expect(() => movingGlyphs(new Rng(1), 1, options)).toThrow(`movingGlyphs: ${message}`);
  });

  it('refuses a count of 0', () => {
    expect(() => movingGlyphs(new Rng(1), 0)).toThrow('movingGlyphs: count: wanted an integer at least 1, got 0');
  });
});
