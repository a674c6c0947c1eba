import { StopError } from './errors.ts';

type Plain = { readonly [key: string]: unknown };

/**
 * The largest values of the sizes that a configuration may name, by the last part of the key. All experiments use the same words. These limits are far above
 * what a CPU can train; they find typing errors before memory is asked for.
 */
const LIMITS: Readonly<Record<string, number>> = {
  ...Object.fromEntries(['width', 'channels', 'latentChannels', 'ffnDim', 'codes'].map((name) => [name, 65_536])),
  ...Object.fromEntries(
    ['depth', 'layers', 'blocks', 'heads', 'kvHeads', 'headSize', 'headDim', 'grid', 'window'].map((name) => [name, 4096]),
  ),
  ...Object.fromEntries(['batch', 'repeats', 'pilots', 'judged', 'analysed'].map((name) => [name, 100_000])),
  ...Object.fromEntries(['patchSize', 'kernelSize', 'side', 'size', 'frames', 'glyphSize'].map((name) => [name, 4096])),
  ...Object.fromEntries(['samples', 'images', 'metricImages', 'validation', 'videos', 'clips', 'stream'].map((name) => [name, 1_000_000])),
  drawn: 10_000_000,
};

/** Every other whole number. */
const LARGEST = 2 ** 31 - 1;

/** @throws StopError that names the key, the limit and the value, for the first size above its limit */
export function checkLimits(where: string, config: unknown, path: readonly string[] = []): void {
  if (typeof config === 'number') {
    const name = path.findLast((part) => !/^\d+$/.test(part)) ?? '';
    const most = LIMITS[name] ?? LARGEST;
    // Whole numbers beyond 2^53 are refused by the schemas of counts; elsewhere, as in a learning rate, they are numbers like others.
    if (Number.isSafeInteger(config) && config > most && name !== 'seed')
      throw new StopError(`${where}: '${path.join('.')}': wanted a whole number <= ${most}, got ${config}`);
  } else if (config !== null && typeof config === 'object') {
    for (const [key, value] of Object.entries(config)) checkLimits(where, value, [...path, key]);
  }
}

/** Weights, their gradients, two moments of Adam, and the new weights and moments that a step makes before the old ones are freed. */
const COPIES = 7;
/** Weights and two moments of Adam, in the checkpoint that is there and in the one that replaces it. */
const STORED_COPIES = 6;
const FLOAT = 4;
/** Weights of one layer in units of width²: four matrices of attention and an MLP of four times the width, or the one matrix of a plain MLP. */
const MATRICES = { transformer: 12, mlp: 1 };

/** A group of a configuration with a width and a number of layers. */
type Network = { readonly path: readonly string[]; readonly width: number; readonly layers: number; readonly weights: number };

/** The networks of a configuration (a transformer if it has heads), with the least number of their weights. */
function networksOf(config: unknown, path: readonly string[] = []): Network[] {
  if (config === null || typeof config !== 'object') return [];
  const { width, depth, layers, blocks, heads, headSize, kvHeads } = config as Plain;
  const count = [depth, layers, blocks].filter((value) => typeof value === 'number').reduce((product, value) => product * value, 1);
  const matrices = [heads, headSize, kvHeads].some((value) => value !== undefined) ? MATRICES.transformer : MATRICES.mlp;
  const own = typeof width === 'number' ? [{ path: [...path, 'width'], width, layers: count, weights: matrices * count * width ** 2 }] : [];
  return [...own, ...Object.entries(config).flatMap(([key, value]) => networksOf(value, [...path, key]))];
}

/**
 * Refuses a configuration whose networks cannot fit into memory; what is counted is the least that training one of them needs.
 *
 * @param available bytes that this process may still use
 * @throws StopError that names the width, what is needed and what is there
 */
export function checkMemory(where: string, config: unknown, available: number): void {
  for (const { path, width, layers, weights } of networksOf(config)) {
    const bytes = COPIES * FLOAT * weights;
    if (bytes > available)
      throw new StopError(
        `${where}: '${path.join('.')}': training a network of width ${width} and ${layers} layers needs at least ${gigabytes(bytes)}, and ${gigabytes(available)} are free; choose a smaller width`,
      );
  }
}

/**
 * Refuses a configuration whose checkpoints cannot fit on the disk; what is counted is the least that those of its largest network need.
 *
 * @param free bytes on the disk of the runs
 * @throws StopError that names what is needed and what is there
 */
export function checkDisk(where: string, config: unknown, free: number): void {
  const bytes = STORED_COPIES * FLOAT * Math.max(0, ...networksOf(config).map(({ weights }) => weights));
  if (bytes > free)
    throw new StopError(
      `${where}: the checkpoints need at least ${gigabytes(bytes)}, and ${gigabytes(free)} are free on the disk of the runs`,
    );
}

const gigabytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GB`;
