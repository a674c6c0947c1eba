import { rotatePairs } from '@atelier/nn';
import { checkNumber, tf, type Tensor } from '@atelier/tensor';
import { checkGrid, type Grid } from './tile.ts';

/** Longest period of the rotations, divided by 2π. */
const THETA = 10000;

/** Cosines and sines [T, d] of the positions of a video's tokens, each angle twice. */
export type RotaryTables = { cos: Tensor; sin: Tensor };

/**
 * Rotary positions along frames, rows and columns: of the d channels of a head, the last two thirds (2⌊d/6⌋ each) turn with the row and the column, the
 * first d - 4⌊d/6⌋ with the frame; the pair m of an axis with D channels turns by position·10000^(-2m/D). Computed in float64.
 */
export function rotaryTables(grid: Grid, d: number): RotaryTables {
  checkGrid('rotaryTables: grid', grid);
  checkNumber('rotaryTables: d', d, { integer: true, min: 2 });
  if (d % 2 !== 0) throw new Error(`rotaryTables: d: wanted an even width of a head, got ${d}`);
  const spatial = 2 * Math.floor(d / 6);
  const widths = [d - 2 * spatial, spatial, spatial];
  const T = grid[0] * grid[1] * grid[2];
  const angles = new Float64Array(T * d);
  for (let token = 0; token < T; token++) {
    const place = [Math.floor(token / (grid[1] * grid[2])), Math.floor(token / grid[2]) % grid[1], token % grid[2]];
    let channel = token * d;
    widths.forEach((width, axis) => {
      for (let c = 0; c < width; c++) angles[channel++] = place[axis]! * THETA ** (-(c - (c % 2)) / width);
    });
  }
  const table = (f: (angle: number) => number): Tensor => tf.tensor2d(Float32Array.from(angles, f), [T, d]);
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

/** Turns queries or keys [B, K, T, d] by their positions. */
export const applyRotary = (x: Tensor, { cos, sin }: RotaryTables): Tensor => rotatePairs(x, cos, sin);
