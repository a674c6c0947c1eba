import { tf, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { selectionMask, tileIndices, tileLayout, type Grid, type VsaStages } from '../../src/index.ts';

/** A metadata text like `(4, 8, 5)`. */
export function grid(file: GoldenFile, key: string): Grid {
  const value = file.setting(key);
  if (!Array.isArray(value) || value.length !== 3) throw new Error(`${file.name}: ${key}: wanted three numbers, got ${String(value)}`);
  return value as unknown as Grid;
}

/** All index arrays of each pair of a grid and a tile, exact. */
export function layouts(file: GoldenFile): number {
  const cases = Number(file.setting('num_cases'));
  for (let i = 0; i < cases; i++) {
    const layout = tileLayout(grid(file, `c${i}.shape`), grid(file, `c${i}.tile`));
    const { partition, reverse, used } = tileIndices(layout);
    const arrays = {
      tile_partition_indices: partition,
      reverse_tile_partition_indices: reverse,
      variable_block_sizes: layout.sizes,
      non_pad_index: used,
      untile_combined_index: layout.slots,
      num_tiles: layout.counts,
    };
    for (const [name, values] of Object.entries(arrays)) expectClose(values, file.host(`c${i}.${name}`).data, {}, `c${i}.${name}`);
  }
  return cases;
}

/** log Σ exp(τ·q·k) over the keys of the selected tiles, [B, H, L, 1], from all logits. */
export function logSumExp(q: Tensor, k: Tensor, { lists, layout, keyLayout }: VsaStages): Tensor {
  const logits = tf.mul(tf.matMul(q, k, false, true), q.shape[3]! ** -0.5);
  const mask = selectionMask(lists, keyLayout.tiles);
  const tileOf = ({ slots, volume }: { slots: Int32Array; volume: number }): Tensor =>
    tf.tensor1d(
      slots.map((slot) => Math.floor(slot / volume)),
      'int32',
    );
  const perToken = tf.gather(tf.gather(mask, tileOf(layout), 2), tileOf(keyLayout), 3); // -> [B, H, L, S]
  return tf.logSumExp(tf.where(tf.cast(perToken, 'bool'), logits, -Infinity), 3, true);
}
