import { checkNumber, parseConfig } from '@atelier/tensor';
import { ditConfig, ditOutChannels, type DiTSettings } from './config.ts';

/** Multiply-accumulates for one image: of each block, of everything outside the blocks, and of the whole network. */
export type DiTMacs = { block: number; outside: number; total: number };

/**
 * Multiply-accumulates of a DiT for one image of H × W pixels (latent pixels, if it works on latents), T = HW/P² tokens. What DiT's tables call Gflops: 118.6
 * for XL/2 at 32 × 32 latents.
 *
 * A block has 4TD² for its four projections, 2T²D for logits and their weighted sums, 2T·D·rD for the MLP and 6D² for adaLN. Outside are the patch
 * embedding TP²CD, the final layer TDP²C' + 2D², and FD + D² for each embedder of F frequency features. Sums, norms, softmax and the look-up of the
 * class are not counted.
 */
export function ditMacs(settings: DiTSettings, image: { H: number; W: number }): DiTMacs {
  const config = parseConfig(ditConfig, settings, 'ditMacs');
  const { inChannels: C, patchSize: P, width: D, depth, frequencySize: F } = config;
  for (const side of ['H', 'W'] as const) {
    checkNumber(`ditMacs: ${side}`, image[side], { integer: true, min: 1 });
    if (image[side] % P !== 0) throw new Error(`ditMacs: ${side}: wanted a multiple of the patch size ${P}, got ${image[side]}`);
  }
  const T = (image.H / P) * (image.W / P);
  const hidden = Math.floor(D * config.mlpRatio);
  const block = 4 * T * D * D + 2 * T * T * D + 2 * T * D * hidden + 6 * D * D;
  const embedders = (config.interval ? 2 : 1) * (F * D + D * D);
  const outside = T * P * P * C * D + T * D * P * P * ditOutChannels(config) + 2 * D * D + embedders;
  return { block, outside, total: depth * block + outside };
}
