import { attention } from '@atelier/nn';
import { Rng, tf, treeMap, type Tensor } from '@atelier/tensor';
import {
  capturedMass,
  initWan,
  selectTiles,
  tileLayout,
  vsaStages,
  type Grid,
  type LayerMixer,
  type SelfAttentionInputs,
  type WanParams,
  type WanSettings,
} from '@atelier/vsa';
import type { Variant } from './config.ts';

/**
 * New parameters at which every block passes its input on with the factor 1 on both branches, as AdaLN-Zero does it with 1 + gate: times have no
 * effect yet, shifts and scales are 0.
 */
export function initNetwork(rng: Rng, settings: WanSettings): WanParams {
  const C = settings.heads * settings.headDim;
  return treeMap(
    (leaf, path) => {
      const isTable = path.endsWith('scale_shift_table');
      if (!isTable && !path.startsWith('condition_embedder.time_modulation')) return leaf;
      leaf.dispose();
      if (!isTable || leaf.shape[1] === 2) return tf.zeros(leaf.shape);
      const gates = new Float32Array(6 * C);
      for (const vector of [2, 5]) gates.fill(1, vector * C, (vector + 1) * C);
      return tf.tensor(gates, [1, 6, C]);
    },
    initWan(rng, settings),
  );
}

/** Whether the network of a variant has the gate of the coarse output. */
export const hasGate = (variant: Variant): boolean => variant === 'vsa' || variant === 'random';

/** What a measurement sees of one layer. */
export type LayerView = { inputs: SelfAttentionInputs; lists: Tensor; layer: number; grid: Grid };

/**
 * Self-attention of a variant with `keep` tiles. The choices of `local` are the tiles whose centres are nearest; those of `random` are drawn once for
 * each layer, head and query tile.
 */
export function mixerOf(variant: Variant, tile: Grid, keep: number, watch?: (view: LayerView) => void): LayerMixer {
  return (inputs, { layer, grid }) => {
    const { q, k, v, gate = tf.zerosLike(inputs.q) } = inputs;
    if (variant === 'full') {
      watch?.({ inputs, layer, grid, lists: vsaStages(q, k, v, { grid, tile, keep }).lists });
      return attention(q, k, v);
    }
    const choose = { vsa: selectTiles, fine: selectTiles, local: nearest(grid, tile), random: atRandom(layer) }[variant];
    const stages = vsaStages(q, k, v, { grid, tile, keep, gate, choose });
    watch?.({ inputs, layer, grid, lists: stages.lists });
    return stages.out;
  };
}

/** Share of the weights of dense attention on the chosen tiles, as a mean over batch, heads and tokens. */
export const massOf = ({ inputs, lists, grid }: LayerView, tile: Grid): Tensor =>
  tf.mean(capturedMass(inputs.q, inputs.k, lists, tileLayout(grid, tile)));

const spread = (rows: Int32Array, scores: Tensor, keep: number): Tensor => {
  const [B, K, n] = scores.shape as [number, number, number, number];
  return tf.tile(tf.tensor(rows, [1, rows.length / (n * keep), n, keep], 'int32'), [B, (K * n * keep) / rows.length, 1, 1]);
};

function nearest(grid: Grid, tile: Grid): (scores: Tensor, keep: number) => Tensor {
  const { counts, tiles } = tileLayout(grid, tile);
  const place = (id: number): number[] => [
    Math.floor(id / (counts[1] * counts[2])),
    Math.floor(id / counts[2]) % counts[1],
    id % counts[2],
  ];
  const distance = (a: number, b: number): number => place(a).reduce((sum, x, axis) => sum + ((x - place(b)[axis]!) * tile[axis]!) ** 2, 0);
  const order = Array.from({ length: tiles }, (_, i) =>
    Array.from({ length: tiles }, (__, j) => j).sort((a, b) => distance(i, a) - distance(i, b) || a - b),
  );
  return (scores, keep) => spread(Int32Array.from(order.flatMap((row) => row.slice(0, keep).sort((a, b) => a - b))), scores, keep);
}

function atRandom(layer: number): (scores: Tensor, keep: number) => Tensor {
  return (scores, keep) => {
    const [, K, n, m] = scores.shape as [number, number, number, number];
    const rows = Array.from({ length: K * n }, (_, row) =>
      new Rng('random tiles').child(layer).child(row).permutation(m).slice(0, keep).sort(),
    );
    return spread(Int32Array.from(rows.flatMap((row) => [...row])), scores, keep);
  };
}
