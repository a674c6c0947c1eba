import type { ParameterTable } from '@atelier/nn';
import { tf, unflattenTree, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { swinDiTParameters, type PswaParams, type SwinDiTParams, type SwinDiTSettings } from '../src/index.ts';

/** Weights away from the official start, in which the gates hide every block; small enough that no softmax saturates. */
export function randomParams(rng: Rng, settings: SwinDiTSettings): SwinDiTParams {
  return randomTree(rng, swinDiTParameters(settings)) as SwinDiTParams;
}

function randomTree(rng: Rng, table: ParameterTable): Tree {
  const leaves = Object.entries(table).map(([name, { shape }]) => {
    const fanIn = shape.length > 1 ? shape.slice(1).reduce((a, b) => a * b, 1) : 4;
    return [name, tf.tidy(() => tf.mul(rng.child(name).normal(shape), name.includes('table') ? 0.5 : 1 / Math.sqrt(fanIn)))] as const;
  });
  return unflattenTree(Object.fromEntries(leaves));
}

/** A small network on a grid of 4 × 6 tokens of 2 × 2 pixels and three channels, windows of 2 × 2. */
export const tiny = {
  dit: { inChannels: 3, patchSize: 2, width: 16, depth: 3, heads: 4, mlpRatio: 2, frequencySize: 8, numClasses: 3, learnSigma: true },
  grid: [4, 6],
  window: 2,
} as const satisfies SwinDiTSettings;

/** The attention of the first layer of a one-layer network of these settings, with random weights. */
export function randomAttention(rng: Rng, settings: SwinDiTSettings): PswaParams {
  return randomParams(rng, { ...settings, dit: { ...settings.dit, depth: 1 } }).blocks[0]!.attn;
}

/** Largest absolute value over all axes but those kept. */
export const largest = (x: Tensor): number => (tf.max(tf.abs(x)).dataSync() as Float32Array)[0]!;
