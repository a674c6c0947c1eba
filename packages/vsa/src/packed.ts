import { dims, tf, type Tensor } from '@atelier/tensor';
import { vsaAttention, type VsaOptions } from './attention.ts';
import { tileLayout, type Grid } from './tile.ts';

export type PackedOptions = Omit<VsaOptions, 'grid' | 'keyGrid'> & {
  /** The grid of each video, in order. */
  grids: readonly Grid[];
  /** The same for the keys and values; `grids` if absent. */
  keyGrids?: readonly Grid[];
};

/**
 * Video sparse attention of several videos of different sizes, whose tokens lie one after another: q [B, K, ΣT, d], k and v [B, K, ΣS, d] -> [B, K, ΣT, d]. A
 * token sees only tokens of its own video. With `sparsity`, each video keeps the same share of its tiles; with `keep`, the same number.
 *
 * @throws Error for as many key grids as there are not videos, for lengths that do not add up, and as `vsaAttention` does
 */
export function vsaPacked(q: Tensor, k: Tensor, v: Tensor, { grids, keyGrids = grids, gate, fineGate, ...options }: PackedOptions): Tensor {
  if (grids.length === 0) throw new Error('vsaPacked: grids: wanted the grid of at least one video, got none');
  if (keyGrids.length !== grids.length)
    throw new Error(`vsaPacked: keyGrids: wanted the grids of ${grids.length} videos, got ${keyGrids.length}`);
  const lengthsOf = (all: readonly Grid[]): number[] => all.map((grid) => (options.prefix ?? 0) + tileLayout(grid, options.tile).tokens);
  const [T, S] = [lengthsOf(grids), lengthsOf(keyGrids)];
  const cut = (name: string, x: Tensor, lengths: number[]): Tensor[] => {
    dims(x, 'B K T d', `vsaPacked: ${name}`, { T: lengths.reduce((a, b) => a + b, 0) });
    return tf.split(x, lengths, 2);
  };
  const [qs, ks, vs] = [cut('q', q, T), cut('k', k, S), cut('v', v, S)];
  const gates = gate && cut('gate', gate, T);
  const fineGates = fineGate && cut('fineGate', fineGate, T);
  const outs = grids.map((grid, i) =>
    vsaAttention(qs[i]!, ks[i]!, vs[i]!, {
      ...options,
      grid,
      keyGrid: keyGrids[i]!,
      ...(gates && { gate: gates[i]! }),
      ...(fineGates && { fineGate: fineGates[i]! }),
    } as VsaOptions),
  );
  return tf.concat(outs, 2);
}
