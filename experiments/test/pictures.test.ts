import { decode } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { imageGrid } from '../src/pictures/image-grid.ts';
import { lineChart } from '../src/pictures/line-chart.ts';
import { scatterGrid } from '../src/pictures/scatter-grid.ts';
import type { Picture } from '../src/runner/experiment.ts';

const images = (shape: number[], fill: (i: number) => number) => {
  const size = shape.reduce((a, b) => a * b, 1);
  return { dtype: 'float32' as const, shape, data: Float32Array.from({ length: size }, (_, i) => fill(i)) };
};

/** Colour of a pixel of layout, as drawn. */
function pixel(picture: Picture, x: number, y: number): number[] {
  const { data, width, channels } = decode(picture.png);
  expect(width).toBe(2 * picture.width);
  const at = (2 * Math.floor(y) * width + 2 * Math.floor(x)) * channels;
  return [...data.slice(at, at + 3)];
}

/** Number of drawn pixels that are neither grey nor white, by kind: 'blue' or 'orange'. */
function inked(picture: Picture): { blue: number; orange: number } {
  const { data, channels } = decode(picture.png);
  const count = { blue: 0, orange: 0 };
  for (let i = 0; i < data.length; i += channels) {
    if (data[i + 2]! - data[i]! > 40) count.blue += 1;
    if (data[i]! - data[i + 2]! > 40) count.orange += 1;
  }
  return count;
}

describe('imageGrid', () => {
  it('draws every pixel as a sharp square at its place: image, row, column, channel', () => {
    // Image b is black but for one pixel at row b, column 1, whose red, green and blue are at -1, 0 and 1.
    const b = images([2, 2, 3, 3], () => -1);
    for (const [image, row] of [
      [0, 0],
      [1, 1],
    ] as const) {
      b.data.set([-1, 0, 1], ((image * 2 + row) * 3 + 1) * 3);
    }
    const picture = imageGrid(b, { columns: 2, tile: 30 });
    // 16 of margin, tiles of 30 × 20, a gap of 3; pixels of 10.
    expect(picture).toMatchObject({ width: 16 + 30 + 3 + 30 + 16, height: 16 + 20 + 16 });
    expect(pixel(picture, 8, 8)).toEqual([255, 255, 255]);
    expect(pixel(picture, 16 + 5, 16 + 5)).toEqual([0, 0, 0]);
    for (const dx of [10, 19]) for (const dy of [0, 9]) expect(pixel(picture, 16 + dx, 16 + dy)).toEqual([0, 128, 255]);
    expect(pixel(picture, 16 + 15, 16 + 15)).toEqual([0, 0, 0]);
    expect(pixel(picture, 16 + 33 + 15, 16 + 5)).toEqual([0, 0, 0]);
    expect(pixel(picture, 16 + 33 + 15, 16 + 15)).toEqual([0, 128, 255]);
  });

  it('draws grey images, clips, and takes another range', () => {
    const grey = images([1, 1, 3, 1], (i) => [-5, 0.5, 5][i]!);
    const picture = imageGrid(grey, { tile: 30, range: [0, 1] });
    expect([5, 15, 25].map((dx) => pixel(picture, 16 + dx, 16 + 5))).toEqual([
      [0, 0, 0],
      [128, 128, 128],
      [255, 255, 255],
    ]);
  });

  it('makes room for labels and writes them', () => {
    const plain = imageGrid(
      images([4, 2, 2, 1], () => 1),
      { columns: 2, tile: 20 },
    );
    const labelled = imageGrid(
      images([4, 2, 2, 1], () => 1),
      { columnLabels: ['one', 'two'], rowLabels: ['upper row', 'lower row'], tile: 20, title: 'T' },
    );
    expect(labelled.width).toBeGreaterThan(plain.width + 40);
    expect(labelled.height).toBe(plain.height + 28 + 18);
    const dark = ({ png }: Picture): number => decode(png).data.filter((value) => value < 128).length;
    expect(dark(plain)).toBe(0);
    expect(dark(labelled)).toBeGreaterThan(200);
  });

  it('refuses what it cannot draw', () => {
    expect(() => imageGrid(images([2, 2, 2, 2], () => 0))).toThrow(
      'imageGrid: wanted float32 [B, H, W, C] with C = 1 or 3, got float32 [2, 2, 2, 2]',
    );
    expect(() => imageGrid(images([2, 2, 2], () => 0))).toThrow('got float32 [2, 2, 2]');
    expect(() => imageGrid(images([1, 1, 2, 1], (i) => (i === 1 ? NaN : 0)))).toThrow(
      'imageGrid: wanted finite numbers, got NaN at position 1',
    );
    expect(() =>
      imageGrid(
        images([4, 2, 2, 1], () => 0),
        { columns: 2, rowLabels: ['a'] },
      ),
    ).toThrow('imageGrid: rowLabels: wanted 2 labels, got 1');
    expect(() =>
      imageGrid(
        images([4, 2, 2, 1], () => 0),
        { columns: 0 },
      ),
    ).toThrow('imageGrid: columns: wanted a whole number >= 1, got 0');
  });
});

describe('scatterGrid', () => {
  it('puts points where they belong, up is up, and one colour to a method', () => {
    const corner = images([50, 2], () => 0.5);
    const picture = scatterGrid(
      [
        { title: 'a', points: corner },
        { title: 'b', points: corner, color: 1 },
      ],
      { extent: 1 },
    );
    const top = 16 + 22 - 4;
    // x = y = 0.5 lies three quarters to the right and one quarter from the top of a panel of 190.
    const [red, , blue] = pixel(picture, 16 + 142.5, top + 47.5);
    expect(blue! - red!).toBeGreaterThan(40);
    const [red2, , blue2] = pixel(picture, 16 + 190 + 14 + 142.5, top + 47.5);
    expect(red2! - blue2!).toBeGreaterThan(40);
    expect(pixel(picture, 16 + 142.5, top + 142.5)).toEqual([255, 255, 255]);
  });

  it('keeps points outside of the axes out and says how many there are', () => {
    const points = images([10, 2], (i) => (i < 2 ? 9 : 0));
    const all = scatterGrid([{ title: 'a', points }], { extent: 1 });
    const inside = scatterGrid([{ title: 'a', points: images([10, 2], () => 0) }], { extent: 1 });
    expect(inked(all)).toEqual(inked(inside));
    expect(all.png).not.toEqual(inside.png);
  });

  it('refuses what it cannot draw', () => {
    expect(() => scatterGrid([])).toThrow('scatterGrid: wanted at least one panel, got none');
    expect(() => scatterGrid([{ title: 'p', points: images([4, 3], () => 0) }])).toThrow(
      "scatterGrid: 'p': wanted float32 [N, 2], got float32 [4, 3]",
    );
    expect(() => scatterGrid([{ title: 'p', points: images([4, 2], () => Infinity) }])).toThrow('got Infinity at position 0');
  });
});

describe('lineChart', () => {
  const line = (f: (x: number) => number, n = 50): [number, number][] => Array.from({ length: n }, (_, i) => [i + 1, f(i)]);

  it('draws one line for each series, with the same picture each time', () => {
    const both = lineChart([
      { name: 'a', points: line((x) => x) },
      { name: 'b', points: line((x) => 50 - x) },
    ]);
    const { blue, orange } = inked(both);
    expect(blue).toBeGreaterThan(500);
    expect(orange).toBeGreaterThan(500);
    const one = inked(lineChart([{ name: 'a', points: line((x) => x) }]));
    expect(one.orange).toBe(0);
    expect(lineChart([{ name: 'a', points: line((x) => x) }]).png).toEqual(lineChart([{ name: 'a', points: line((x) => x) }]).png);
  });

  it('labels a logarithmic axis with the places that were measured', () => {
    const { svg } = lineChart(
      [
        {
          name: 'a',
          points: [
            [1, 0.5],
            [2, 0.1],
            [16, 0.01],
          ],
        },
      ],
      { logX: true, logY: true, x: 'steps', title: 'A & B' },
    );
    const words = [...svg!.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, word]) => word);
    expect(words).toEqual(expect.arrayContaining(['1', '2', '16', '0.1', '0.01', 'steps', 'A &amp; B']));
  });

  it('draws a band in the colour of its curve, with room for it, and marks the axis where it is told to', () => {
    const points = line(() => 1, 3);
    const draw = (band: [number, number, number][]) => lineChart([{ name: 'a', points, band }], { xTicks: [1, 3] });
    const { svg } = draw([
      [1, -20, 1],
      [3, 0, 1],
    ]);
    expect(svg).toMatch(/<g[^>]*fill="#[0-9a-f]+"[^>]*fill-opacity="0.15"|<g[^>]*fill-opacity="0.15"[^>]*fill="#[0-9a-f]+"/);
    const words = [...svg!.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, word]) => word);
    expect(words.filter((word) => ['1', '2', '3'].includes(word!))).toEqual(['1', '3']);
    expect(words).toContain('-20');
    expect(() => draw([[1, NaN, 1]])).toThrow("lineChart: 'a': wanted finite numbers, got [1, NaN]");
  });

  it('thins long curves without losing their level', () => {
    const { svg } = lineChart([{ name: 'a', points: line(() => 1, 100_000) }]);
    expect(svg!.length).toBeLessThan(40_000);
  });

  it('refuses what it cannot draw', () => {
    expect(() => lineChart([])).toThrow('lineChart: wanted at least one point, got none');
    expect(() => lineChart([{ name: 'a', points: [[1, NaN]] }])).toThrow("lineChart: 'a': wanted finite numbers, got [1, NaN]");
    expect(() => lineChart([{ name: 'a', points: [[0, 1]] }], { logX: true })).toThrow(
      "lineChart: 'a': wanted positive numbers on a logarithmic axis, got [0, 1]",
    );
  });
});
