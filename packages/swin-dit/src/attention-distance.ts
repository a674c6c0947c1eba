import {
  applyDiT,
  attention,
  ditConfig,
  linear,
  mergeHeads,
  queriesKeysValues,
  softmax,
  type DiTInputs,
  type DiTParams,
  type DiTSettings,
} from '@atelier/nn';
import { checkNumber, compile, dims, disposeTree, parseConfig, type Tensor, tf } from '@atelier/tensor';
import type { Grid } from './window.ts';

/** The distance of two tokens: Euclidean, or the larger of the row and column differences (then a window is a square). */
export type DistanceMetric = 'euclidean' | 'chebyshev';

/** Where the attention of a network goes, by distance between query and key. */
export type AttentionProfile = {
  /** The distances that occur on the grid, in tokens, ascending. */
  distances: number[];
  /** Share of the attention at each distance: layer, head, distance. Each head's shares sum to 1. */
  mass: number[][][];
  /** The shares of a head that attends equally to all tokens: the fraction of pairs at each distance. */
  uniform: number[];
};

/**
 * Attention of a DiT by token distance, over all images, heads and queries: the measure of how much of its global attention is needed.
 *
 * @param x [B, H, W, C] the input of the network at the times of `inputs`: noisy images
 */
export async function attentionProfile(
  params: DiTParams,
  x: Tensor,
  inputs: DiTInputs,
  settings: DiTSettings,
  { metric }: { metric: DistanceMetric },
): Promise<AttentionProfile> {
  const config = parseConfig(ditConfig, settings, 'attentionProfile');
  const { B, H, W } = dims<'B' | 'H' | 'W'>(x, 'B H W C', 'attentionProfile: x', { C: config.inChannels });
  const { distances, index } = gridDistances({ h: H / config.patchSize, w: W / config.patchSize }, metric);
  const T = Math.sqrt(index.length);
  const sums = compile(
    (weights: DiTParams, image: Tensor, rest: DiTInputs): Tensor[] => {
      const found: Tensor[] = []; // [R, K] of each layer
      const ids = tf.tensor1d(index, 'int32');
      applyDiT(weights, image, rest, config, {
        attention: (u, { layer }) => {
          const { q, k, v } = queriesKeysValues(weights.blocks[layer]!.attn, u, config.heads);
          const P = softmax(tf.mul(tf.matMul(q, k, false, true), q.shape[3]! ** -0.5)); // -> [B, K, T, T]
          const byPair = tf.transpose(tf.reshape(tf.sum(P, 0), [config.heads, T * T]), [1, 0]); // -> [T·T, K]
          const sum = tf.unsortedSegmentSum(byPair, ids as Parameters<typeof tf.unsortedSegmentSum>[1], distances.length);
          found[layer] = found[layer] === undefined ? sum : tf.add(found[layer]!, sum);
          return linear(weights.blocks[layer]!.attn.proj, mergeHeads(attention(q, k, v)));
        },
      });
      return found;
    },
    { name: 'attention profile' },
  );
  const found = sums(params, x, inputs);
  sums.dispose();
  const mass: number[][][] = [];
  for (const layer of found) {
    const byDistance = (await layer.array()) as number[][];
    mass.push(Array.from({ length: config.heads }, (_, head) => byDistance.map((row) => row[head]! / (B * T))));
  }
  disposeTree(found);
  const uniform = distances.map(() => 0);
  for (const id of index) uniform[id]! += 1 / index.length;
  return { distances, mass, uniform };
}

/** Mean distance of a head's attention, or of any shares at these distances. */
export function meanDistance(distances: readonly number[], shares: readonly number[]): number {
  return shares.reduce((sum, share, i) => sum + share * distances[i]!, 0);
}

/** Share of a head's attention at distances up to `limit`. */
export function shareWithin(distances: readonly number[], shares: readonly number[], limit: number): number {
  return shares.reduce((sum, share, i) => (distances[i]! <= limit ? sum + share : sum), 0);
}

/** The distances of all pairs of tokens, ascending, and which of them each pair has: [T·T] flattened. */
function gridDistances({ h, w }: Grid, metric: DistanceMetric): { distances: number[]; index: Int32Array } {
  for (const [name, side] of Object.entries({ h, w }))
    checkNumber(`attentionProfile: x: tokens along ${name}`, side, { integer: true, min: 1 });
  if (metric !== 'euclidean' && metric !== 'chebyshev')
    throw new Error(`attentionProfile: metric: wanted 'euclidean' or 'chebyshev', got '${String(metric)}'`);
  const T = h * w;
  const between = (di: number, dj: number): number => (metric === 'euclidean' ? Math.hypot(di, dj) : Math.max(di, dj));
  const all = new Set<number>();
  for (let di = 0; di < h; di++) for (let dj = 0; dj < w; dj++) all.add(between(di, dj));
  const distances = [...all].sort((a, b) => a - b);
  const rank = new Map(distances.map((distance, i) => [distance, i]));
  const index = new Int32Array(T * T);
  for (let q = 0; q < T; q++)
    for (let k = 0; k < T; k++)
      index[q * T + k] = rank.get(between(Math.abs(Math.floor(q / w) - Math.floor(k / w)), Math.abs((q % w) - (k % w))))!;
  return { distances, index };
}
