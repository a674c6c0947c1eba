import { Rng } from '@atelier/tensor';
import { describe, expect, it } from 'vitest';
import { DISC_AND_BOX_CLASSES, discsAndBoxes, imageSize } from '../src/index.ts';

describe('discs and boxes', () => {
  it('are colour images of two classes, the same for a seed and however many are drawn', () => {
    const set = discsAndBoxes(new Rng(1), 200, 12);
    expect([set.height, set.width, set.channels, set.classes]).toEqual([12, 12, 3, 2]);
    expect(set.classNames).toEqual(DISC_AND_BOX_CLASSES);
    const few = discsAndBoxes(new Rng(1), 3, 12);
    expect(set.pixels.subarray(0, few.pixels.length)).toEqual(few.pixels);
    expect(set.labels.subarray(0, 3)).toEqual(few.labels);
    const boxes = set.labels.reduce((sum, label) => sum + label, 0);
    expect(boxes).toBeGreaterThan(70);
    expect(boxes).toBeLessThan(130);
    for (const value of set.pixels) expect(Math.abs(value)).toBeLessThanOrEqual(1);
  });

  it('have one shape of one colour and the area that its half size says, on a background that is a plane', () => {
    const side = 40;
    const set = discsAndBoxes(new Rng('areas'), 60, side);
    const size = imageSize(set);
    const areas: [number[], number[]] = [[], []];
    for (let n = 0; n < set.count; n++) {
      const at = (row: number, column: number, c: number): number => set.pixels[n * size + (row * side + column) * 3 + c]!;
      // The plane through three corners of the background; a pixel far from it belongs to the shape.
      const corner = [0, 1, 2].map((c) => at(0, 0, c));
      const across = [0, 1, 2].map((c) => (at(0, side - 1, c) - corner[c]!) / (side - 1));
      const down = [0, 1, 2].map((c) => (at(side - 1, 0, c) - corner[c]!) / (side - 1));
      let area = 0;
      const colours: number[][] = [];
      for (let row = 0; row < side; row++)
        for (let column = 0; column < side; column++) {
          const off = [0, 1, 2].map((c) => at(row, column, c) - corner[c]! - across[c]! * column - down[c]! * row);
          if (Math.hypot(...off) > 0.1) {
            area++;
            colours.push([0, 1, 2].map((c) => at(row, column, c)));
          }
        }
      // Some shapes lie over a corner or have nearly the colour behind them; they tell nothing here.
      if (area > 0.06 * side * side && area < 0.5 * side * side) areas[set.labels[n]!]!.push(area / side / side);
    }
    // π·r² against 4·r² with the same law of r: boxes are larger by 4/π on average.
    const mean = (list: number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
    expect(Math.min(areas[0].length, areas[1].length)).toBeGreaterThan(10);
    expect(mean(areas[1])).toBeGreaterThan(mean(areas[0]));
  });

  it('are refused in one sentence', () => {
    expect(() => discsAndBoxes(new Rng(1), 0, 8)).toThrow('discsAndBoxes: count: wanted an integer at least 1, got 0');
    expect(() => discsAndBoxes(new Rng(1), 2, 7.5)).toThrow('discsAndBoxes: side: wanted an integer at least 1, got 7.5');
  });
});
