import { checkLike, dims, type Tensor, tf } from '@atelier/tensor';
import type { AverageVelocity } from './objective.ts';

/** `steps + 1` equally spaced times from 1 (noise) down to 0 (data). */
export function uniformGrid(steps: number): number[] {
  if (!Number.isInteger(steps) || steps < 1) throw new Error(`uniformGrid: steps: wanted a whole number of at least 1, got ${steps}`);
  return Array.from({ length: steps + 1 }, (_, k) => (steps - k) / steps);
}

/**
 * One MeanFlow jump from time `from` to time `to`: z - (from - to)·N(z; from, from - to) (arXiv 2505.13447). `from = to` moves nothing.
 *
 * @param z points at time `from` [B, …]
 * @param y labels [B], if the network takes them
 */
export function flowStep(network: AverageVelocity, z: Tensor, from: number, to: number, y?: Tensor): Tensor {
  return tf.tidy(() => {
    const t = tf.fill([z.shape[0]!], from);
    const h = tf.fill([z.shape[0]!], from - to);
    const u = network(z, t, h, y);
    checkLike(u, z, 'flowStep: output of the network');
    return tf.sub(z, tf.mul(u, from - to));
  });
}

/**
 * MeanFlow samples from noise e [B, …] by jumps along a grid of times; one network evaluation a jump, no guidance at this point.
 *
 * The grid is an argument and has no default number of steps behind it. In the official JAX code `num_steps = 2` without explicit times keeps
 * the grid [1, 0], and its second step silently does nothing; here the two-step sample is `grid: uniformGrid(2)` or any [1, τ, 0].
 * @param options.grid strictly decreasing times in [0, 1], [1, 0] if absent (one step)
 * @param options.y labels [B]
 * @throws Error if the grid does not strictly decrease or leaves [0, 1]
 */
export function sampleMeanFlow(network: AverageVelocity, e: Tensor, options: { grid?: readonly number[]; y?: Tensor } = {}): Tensor {
  const grid = checkGrid(options.grid ?? [1, 0], 'sampleMeanFlow');
  checkLabels(e, options.y, 'sampleMeanFlow');
  return tf.tidy(() => pairs(grid).reduce((z, [from, to]) => flowStep(network, z, from, to, options.y), e));
}

/**
 * Samples by integrating the instantaneous velocity N(z; t, h = 0), the only way for a flow-matching network and possible for a MeanFlow one.
 *
 * @param options.grid as for `sampleMeanFlow`
 * @param options.method `euler` (one evaluation a step) or `heun` (two, the last step from t > 0 to 0 included)
 * @throws Error if the grid does not strictly decrease or leaves [0, 1]
 */
export function integrateVelocity(
  network: AverageVelocity,
  e: Tensor,
  options: { grid: readonly number[]; method?: 'euler' | 'heun'; y?: Tensor },
): Tensor {
  const grid = checkGrid(options.grid, 'integrateVelocity');
  const method = options.method ?? 'euler';
  if (method !== 'euler' && method !== 'heun')
    throw new Error(`integrateVelocity: method: wanted 'euler' or 'heun', got '${String(method)}'`);
  checkLabels(e, options.y, 'integrateVelocity');
  return tf.tidy(() => {
    const h = tf.zeros([e.shape[0]!]);
    const velocity = (z: Tensor, time: number): Tensor => {
      const v = network(z, tf.fill([z.shape[0]!], time), h, options.y);
      checkLike(v, z, 'integrateVelocity: output of the network');
      return v;
    };
    return pairs(grid).reduce((z, [from, to]) => {
      const v = velocity(z, from);
      const euler = tf.sub(z, tf.mul(v, from - to));
      if (method === 'euler') return euler;
      return tf.sub(z, tf.mul(tf.add(v, velocity(euler, to)), (from - to) / 2));
    }, e);
  });
}

function checkGrid(grid: readonly number[], where: string): readonly number[] {
  const good = grid.length >= 2 && grid.every((time, k) => time >= 0 && time <= 1 && (k === 0 || time < grid[k - 1]!));
  if (!good) throw new Error(`${where}: grid: wanted at least two strictly decreasing times in [0, 1], got [${grid.join(', ')}]`);
  return grid;
}

function checkLabels(e: Tensor, y: Tensor | undefined, where: string): void {
  if (!(e instanceof tf.Tensor) || e.rank < 2)
    throw new Error(
      `${where}: e: wanted noise [B, …] of rank 2 or more, got ${e instanceof tf.Tensor ? `[${e.shape.join(', ')}]` : typeof e}`,
    );
  if (y !== undefined) dims(y, 'B', `${where}: y`, { B: e.shape[0]! });
}

const pairs = (grid: readonly number[]): (readonly [from: number, to: number])[] => grid.slice(1).map((to, k) => [grid[k]!, to] as const);
