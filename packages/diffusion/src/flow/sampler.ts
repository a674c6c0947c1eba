import { checkLike, checkOptions, compile, dims, tf, type Compiled, type Tensor, type Tree } from '@atelier/tensor';
import type { Sampler } from '../sampler.ts';
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
  checkOptions('integrateVelocity', options, ['grid', 'method', 'y']);
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
  const good =
    Array.isArray(grid) && grid.length >= 2 && grid.every((time, k) => time >= 0 && time <= 1 && (k === 0 || time < grid[k - 1]!));
  if (!good)
    throw new Error(
      `${where}: grid: wanted at least two strictly decreasing times in [0, 1], got ${Array.isArray(grid) ? `[${grid.join(', ')}]` : grid === undefined ? 'nothing' : String(grid)}`,
    );
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

/** How a flow is sampled: times from 1 (noise) down to 0 (data), and labels y [B] if the network takes them. */
export type GridOptions = { grid: readonly number[]; y?: Tensor };
const GRID_OPTIONS = ['grid', 'y'];
/** z [B, …] at time t. */
export type FlowStep = { t: number; z: Tensor };

/**
 * A sampler that goes along a grid of times from noise e [B, …] at its first to samples at its last. All steps of a grid are one graph; `steps` makes
 * one for each step.
 *
 * @param advance a model's way along a grid: points z at its first time to points at its last, a pure function
 */
export function gridSampler<Model extends Tree>(
  advance: (model: Model, z: Tensor, options: GridOptions) => Tensor,
  name: string,
): Sampler<Model, GridOptions, FlowStep> {
  type Inputs = { z: Tensor; y?: Tensor };
  const compiled = new Map<string, Compiled<[Model, Inputs], Tensor>>();
  const run = (model: Model, z: Tensor, { grid, y }: GridOptions): Tensor => {
    const key = grid.join();
    let along = compiled.get(key);
    if (along === undefined) {
      along = compile((weights: Model, at: Inputs) => advance(weights, at.z, { grid, ...(at.y && { y: at.y }) }), {
        name: `${name} ${grid.length - 1}`,
      });
      compiled.set(key, along);
    }
    return along(model, { z, ...(y && { y }) });
  };
  return {
    sample(model, e, options) {
      checkOptions(name, options, GRID_OPTIONS);
      checkGrid(options.grid, name);
      return run(model, e, options);
    },
    *steps(model, e, options) {
      checkOptions(name, options, GRID_OPTIONS);
      const { grid, ...rest } = options;
      checkGrid(grid, name);
      let z = e.clone();
      try {
        for (const [from, to] of gridSteps(grid)) {
          const before = z;
          z = run(model, before, { grid: [from, to], ...rest });
          before.dispose();
          yield { t: to, z: z.clone() };
        }
      } finally {
        z.dispose();
      }
    },
    get graphs() {
      return [...compiled.values()].reduce((sum, { graphs }) => sum + graphs, 0);
    },
    dispose() {
      for (const each of compiled.values()) each.dispose();
      compiled.clear();
    },
  };
}

/** Flow matching as a sampler: `integrateVelocity` of the network that `networkOf` makes of a model. */
export function velocitySampler<Model extends Tree>(
  networkOf: (model: Model) => Velocity,
  { method = 'euler' }: { method?: 'euler' | 'heun' } = {},
): Sampler<Model, GridOptions, FlowStep> {
  return gridSampler((model, z, options) => integrateVelocity(networkOf(model), z, { ...options, method }), method);
}
