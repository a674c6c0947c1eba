import { ditMacs } from '@atelier/nn';
import { parseSwinDiT, type SwinDiTSettings } from './config.ts';
import { swinDiTLayers, type SwinDiTLayer } from './layers.ts';

/** Multiply-accumulates for one image: of each block, of everything outside the blocks, and of the whole network. */
export type SwinDiTMacs = { blocks: number[]; outside: number; total: number };

/**
 * Multiply-accumulates of a Swin DiT for one image on its grid, counted as `ditMacs` does: 5,088,952,320 for S/2 at 256 pixels, 0.84 of DiT-S/2.
 *
 * It is linear in the number of window heads of a layer, so all allocations of one total cost the same.
 */
export function swinDiTMacs(settings: SwinDiTSettings): SwinDiTMacs {
  const config = parseSwinDiT(settings, 'swinDiTMacs');
  const [h, w] = config.grid;
  const { width: D, patchSize: P } = config.dit;
  const dit = ditMacs(config.dit, { H: h * P, W: w * P });
  const rest = dit.block - attentionMacs({ kind: 'global' }, h * w, D);
  const blocks = swinDiTLayers(config).map((layer) => rest + attentionMacs(layer, h * w, D));
  return { blocks, outside: dit.outside, total: dit.outside + blocks.reduce((a, b) => a + b, 0) };
}

/**
 * Multiply-accumulates of the attention of one layer on T tokens of width D, with its projections. Global: 4TD² + 2T²D. Otherwise TD(2C_a + D) for q, k and v,
 * 2TM²C_a inside windows, TK²C_b for the bridge, TD² for the output.
 */
export function attentionMacs(layer: SwinDiTLayer, T: number, D: number): number {
  if (layer.kind === 'global') return 4 * T * D * D + 2 * T * T * D;
  const { heads, windowHeads, window: M, kernel: K } = layer;
  const windowChannels = (D / heads) * windowHeads;
  const bridgeChannels = D - windowChannels;
  return T * D * (2 * windowChannels + D) + 2 * T * M * M * windowChannels + T * K * K * bridgeChannels + T * D * D;
}
