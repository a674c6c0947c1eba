import { toTensor, type Rng, type Tensor } from '@atelier/tensor';
import type { Grid } from '@atelier/vsa';

/** Tokens of a video, and of a tile. */
export const DICTIONARY_GRID: Grid = [4, 8, 8];
export const DICTIONARY_TILE: Grid = [2, 2, 2];
export const DICTIONARY_CHANNELS = 4;
const [PATCHES, VOLUME] = [4, 8];

/**
 * Videos [count, 4, 8, 8, 4] in which every tile of 2 × 2 × 2 tokens shows one of four random patches, drawn for each video: z = (noise + offset)/√2 with
 * one offset for all tokens of a patch. There are about eight copies of a patch, anywhere. A denoiser must find the copies to average them.
 */
export function dictionaryVideos(rng: Rng, count: number): Tensor {
  const [F, H, W] = DICTIONARY_GRID;
  const C = DICTIONARY_CHANNELS;
  const tiles = (F / 2) * (H / 2) * (W / 2);
  const noise = rng.child('patches').normals(count * PATCHES * (VOLUME + 1) * C);
  const shown = rng.child('places').integers(count * tiles, 0, PATCHES);
  const data = new Float32Array(count * F * H * W * C);
  for (let n = 0, to = 0; n < count; n++)
    for (let f = 0; f < F; f++)
      for (let y = 0; y < H; y++)
        for (let x = 0; x < W; x++) {
          const tile = (Math.floor(f / 2) * (H / 2) + Math.floor(y / 2)) * (W / 2) + Math.floor(x / 2);
          const place = ((f % 2) * 2 + (y % 2)) * 2 + (x % 2);
          const patch = (n * PATCHES + shown[n * tiles + tile]!) * (VOLUME + 1) * C;
          for (let c = 0; c < C; c++) data[to++] = (noise[patch + place * C + c]! + noise[patch + VOLUME * C + c]!) / Math.SQRT2;
        }
  return toTensor({ dtype: 'float32', shape: [count, F, H, W, C], data });
}
