import { checkNumber } from '@atelier/tensor';

// Times: t = 0 is noise, t = 1 is data.

/** The time that the official code tells the network for a finished chunk. */
export const CLEAN_TIME = 0.9999;

/**
 * The code that tells a distilled network the size of its step, from the number of such steps in a schedule: half of it, as in the official code (64
 * -> 32, 8 -> 4).
 */
export const stepCode = (steps: number): number => steps / 2;

/** How the fraction u of the steps becomes a time t. */
export type TimeWarp =
  /** x = u², then the shift t = x / (x + shift·(1 - x)): the shift of Eq. 5 with w = 1/shift. */
  | { kind: 'shifted-square'; shift?: number }
  /** u². */
  | { kind: 'square' }
  /** Two straight lines: u/1.75 below u = 7/8, then 0.5 + 4(u - 7/8). */
  | { kind: 'piecewise' }
  | { kind: 'identity' };

/** The time t = φ(u) for u in [0, 1], rising from 0 to 1. With the default, three quarters of the steps lie below t = 0.3 (section 2.4 of arXiv 2505.13211). */
export function warpTime(u: number, warp: TimeWarp = { kind: 'shifted-square' }): number {
  checkNumber('warpTime: u', u, { min: 0, max: 1 });
  switch (warp.kind) {
    case 'shifted-square': {
      const { shift = 3 } = warp;
      checkNumber('warpTime: shift', shift, { above: 0 });
      return (u * u) / (u * u + shift * (1 - u * u));
    }
    case 'square':
      return u * u;
    case 'piecewise':
      return u < 0.875 ? u / 1.75 : 0.5 + 4 * (u - 0.875);
    case 'identity':
      return u;
    default:
      throw new Error(
        `warpTime: wanted kind 'shifted-square', 'square', 'piecewise' or 'identity', got '${String((warp as { kind: unknown }).kind)}'`,
      );
  }
}

/**
 * The mixed grids of 12 steps of a distilled model: where the three steps of a quarter begin, in u from the start of the quarter. Steps have the
 * sizes 1/8 or 1/16.
 */
export const MIXED_GRIDS = { '8,16,16': [0, 0.125, 0.1875], '16,16,8': [0, 0.0625, 0.125] } as const;
export type MixedGrid = keyof typeof MIXED_GRIDS;

/** The denoising steps of a chunk, from noise to data. */
export type DenoisingTimes = {
  /** t_0 … t_S. */
  t: number[];
  /** For every step its size, in steps of the finest grid with these steps: 1, or 2 for the long steps (1/8) of a mixed grid. */
  interval: number[];
  /** For every step, the code of its size that a distilled network reads (`stepCode`). */
  code: number[];
};

/** The times of S steps. @param mixed the mixed grid to use, with 12 steps; a uniform grid if absent */
export function denoisingTimes(steps: number, { warp, mixed }: { warp?: TimeWarp; mixed?: MixedGrid } = {}): DenoisingTimes {
  checkNumber('denoisingTimes: steps', steps, { integer: true, min: 1 });
  const times = (grid: number[]): number[] => grid.map((u) => warpTime(u, warp));
  if (mixed === undefined) {
    const interval = Array.from({ length: steps }, () => 1);
    return { t: times(Array.from({ length: steps + 1 }, (_, k) => k / steps)), interval, code: interval.map(() => stepCode(steps)) };
  }
  const quarter = Object.hasOwn(MIXED_GRIDS, mixed) ? MIXED_GRIDS[mixed] : undefined;
  if (quarter === undefined)
    throw new Error(`denoisingTimes: mixed: wanted ${Object.keys(MIXED_GRIDS).join(' or ')}, got '${String(mixed)}'`);
  if (steps !== 12) throw new Error(`denoisingTimes: steps: wanted 12 for a mixed grid, got ${steps}`);
  const grid = [0, 0.25, 0.5, 0.75].flatMap((start) => quarter.map((u) => start + u));
  const interval = [...grid, 1].slice(1).map((next, k) => (next - grid[k]!) * 16);
  return { t: times([...grid, 1]), interval, code: interval.map((m) => stepCode(16 / m)) };
}
