import { checkLike, dims, type Tensor, tf } from '@atelier/tensor';
import type { Velocity } from './objective.ts';

/** `steps + 1` equally spaced times from 1 (noise) down to 0 (data). */
export function uniformGrid(steps: number): number[] {
  if (!Number.isInteger(steps) || steps < 1) throw new Error(`uniformGrid: steps: wanted a whole number of at least 1, got ${steps}`);
  return Array.from({ length: steps + 1 }, (_, k) => (steps - k) / steps);
}

/**
 * Samples from noise e [B, …] at t = 1 to data at t = 0 by integrating the velocity along a grid of times.
 *
 * @param options.grid strictly decreasing times in [0, 1]
 * @param options.method `euler` (one evaluation per step) or `heun` (two per step, also in the last step, which ends at 0)
 * @throws Error if the grid does not strictly decrease or leaves [0, 1]
 */
export function integrateVelocity(
  network: Velocity,
  e: Tensor,
  options: { grid: readonly number[]; method?: 'euler' | 'heun'; y?: Tensor },
): Tensor {
  const grid = checkGrid(options.grid, 'integrateVelocity');
  const method = options.method ?? 'euler';
  if (method !== 'euler' && method !== 'heun')
    throw new Error(`integrateVelocity: method: wanted 'euler' or 'heun', got '${String(method)}'`);
  checkNoiseAndLabels(e, options.y, 'integrateVelocity');
  return tf.tidy(() => {
    const velocity = (z: Tensor, time: number): Tensor => {
      const v = network(z, tf.fill([z.shape[0]!], time), options.y);
      checkLike(v, z, 'integrateVelocity: output of the network');
      return v;
    };
    return gridSteps(grid).reduce((z, [from, to]) => {
      const v = velocity(z, from);
      const euler = tf.sub(z, tf.mul(v, from - to));
      if (method === 'euler') return euler;
      return tf.sub(z, tf.mul(tf.add(v, velocity(euler, to)), (from - to) / 2));
    }, e);
  });
}

/** Throws unless the times strictly decrease in [0, 1]; returns them. */
export function checkGrid(grid: readonly number[], where: string): readonly number[] {
  const good = grid.length >= 2 && grid.every((time, k) => time >= 0 && time <= 1 && (k === 0 || time < grid[k - 1]!));
  if (!good) throw new Error(`${where}: grid: wanted at least two strictly decreasing times in [0, 1], got [${grid.join(', ')}]`);
  return grid;
}

/** Throws unless e is noise [B, …] and y, if given, labels [B]. */
export function checkNoiseAndLabels(e: Tensor, y: Tensor | undefined, where: string): void {
  if (!(e instanceof tf.Tensor) || e.rank < 2)
    throw new Error(
      `${where}: e: wanted noise [B, …] of rank 2 or more, got ${e instanceof tf.Tensor ? `[${e.shape.join(', ')}]` : typeof e}`,
    );
  if (y !== undefined) dims(y, 'B', `${where}: y`, { B: e.shape[0]! });
}

/** The steps of a grid. */
export const gridSteps = (grid: readonly number[]): (readonly [from: number, to: number])[] =>
  grid.slice(1).map((to, k) => [grid[k]!, to] as const);
