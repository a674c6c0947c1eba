import { rotaryTables, type RotaryTables } from '@atelier/nn';
import { checkNumber } from '@atelier/tensor';
import { checkGrid, type Grid } from './tile.ts';

/**
 * Rotary positions of a video's tokens along frames, rows and columns: of the d channels of a head, the last two thirds (2⌊d/6⌋ each) turn with the row
 * and the column, the first d - 4⌊d/6⌋ with the frame.
 */
export function videoRotaryTables(grid: Grid, d: number): RotaryTables {
  checkGrid('videoRotaryTables: grid', grid);
  checkNumber('videoRotaryTables: d', d, { integer: true, min: 2 });
  if (d % 2 !== 0) throw new Error(`videoRotaryTables: d: wanted an even width of a head, got ${d}`);
  const spatial = 2 * Math.floor(d / 6);
  return rotaryTables(grid, [d - 2 * spatial, spatial, spatial]);
}
