import { decode, decodeApng } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { animatedPng } from '../src/pictures/animated-png.ts';
import { animation, filmStrip } from '../src/pictures/videos.ts';

/** Videos [B, F, H, W, C] whose frames have one brightness each. */
const videos = (shape: [number, number, number, number, number], brightness: (n: number, f: number) => number) => {
  const [, F, H, W, C] = shape;
  const size = H * W * C;
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
    brightness(Math.floor(i / (F * size)), Math.floor(i / size) % F),
  );
  return { dtype: 'float32' as const, shape, data };
};

/** The brightness that is drawn as a byte. */
const byte = (value: number): number => (2 * value) / 255 - 1;

/** Grey value of the drawn pixel (x, y) of layout, whose density is 2. */
const grey = ({ data, width, channels }: { data: ArrayLike<number>; width: number; channels: number }, x: number, y: number): number =>
  data[(2 * y * width + 2 * x) * channels]!;

/** Middle of tile (row, column) of a grid of 20 x 20 tiles without labels on the left and with column labels on top. */
const middle = (row: number, column: number, top: number): [number, number] => [16 + column * 23 + 10, top + row * 23 + 10];

describe('filmStrip', () => {
  it('has a row for each video and a column for each frame', () => {
    const picture = filmStrip(
      videos([2, 3, 4, 4, 1], (n, f) => byte(20 * (3 * n + f))),
      { tile: 20 },
    );
    const pixels = decode(picture.png);
    for (const n of [0, 1]) for (const f of [0, 1, 2]) expect(grey(pixels, ...middle(n, f, 34))).toBe(20 * (3 * n + f));
  });

  it('shows some frames of a long video, with the first and the last', () => {
    const picture = filmStrip(
      videos([1, 41, 4, 4, 3], (_, f) => byte(6 * f)),
      { tile: 20, shown: 3 },
    );
    const pixels = decode(picture.png);
    expect([0, 1, 2].map((i) => grey(pixels, ...middle(0, i, 34)))).toEqual([0, 120, 240]);
  });

  it('refuses what it cannot draw', () => {
    const flat = { dtype: 'float32' as const, shape: [1, 4, 4, 1], data: new Float32Array(16) };
    expect(() => filmStrip(flat)).toThrow('filmStrip: wanted float32 [B, F, H, W, C] with C = 1 or 3, got float32 [1, 4, 4, 1]');
    const one = videos([1, 2, 4, 4, 1], () => 0);
    expect(() => filmStrip(one, { shown: 3 })).toThrow('filmStrip: shown: wanted a whole number from 1 to 2 frames, got 3');
    expect(() => filmStrip(videos([1, 2, 4, 4, 1], () => NaN))).toThrow('wanted finite numbers');
  });
});

describe('animation', () => {
  it('is a PNG with all frames, each at its time, without end', () => {
    const picture = animation(
      videos([2, 5, 6, 4, 3], (n, f) => byte(100 + 10 * (5 * n + f))),
      { columns: 2, tile: 20, framesPerSecond: 4, title: 'grey' },
    );
    const { frames, numberOfPlays, width, height } = decodeApng(picture.png);
    expect([frames.length, numberOfPlays, width, height]).toEqual([5, 0, 2 * picture.width, 2 * picture.height]);
    frames.forEach((frame, f) => {
      expect(frame.delayNumber / frame.delayDenominator).toBe(0.25);
      for (const n of [0, 1]) {
        const wanted = 100 + 10 * (5 * n + f);
        expect(grey({ ...frame, width, channels: frame.data.length / (width * height) }, ...middle(0, n, 44))).toBe(wanted);
      }
    });
    // Its first frame is what a program for still PNGs shows.
    expect(decode(picture.png).data).toEqual(frames[0]!.data);
  });

  it('refuses what it cannot draw', () => {
    const one = videos([1, 2, 4, 4, 1], () => 0);
    expect(() => animation(one, { framesPerSecond: 0 })).toThrow(
      'animatedPng: framesPerSecond: wanted a number above 0 and at most 100, got 0',
    );
    expect(() => animatedPng([], 8)).toThrow('animatedPng: wanted at least one picture, got none');
    const [small, large] = [filmStrip(one, { tile: 20 }), filmStrip(one, { tile: 40 })];
    expect(() => animatedPng([small, large], 8)).toThrow(
      'animatedPng: wanted pictures of the size and colours of the first, got another kind at 1',
    );
  });
});
