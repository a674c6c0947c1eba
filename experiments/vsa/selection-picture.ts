import type { HostTensor } from '@atelier/tensor';
import { tileLayout, type Grid } from '@atelier/vsa';
import { filmStrip } from '../src/pictures/videos.ts';
import type { Picture } from '../src/runner/experiment.ts';

const QUERY = [1, 0.2, -0.6] as const;
const KEY = [-0.6, 0.1, 1] as const;
/** Share of the colour over the pixels. */
const TINT = 0.45;

/**
 * The first video, once for each layer: the query tile in its middle tinted orange, and the tiles that the first head selects for it tinted blue.
 *
 * @param video [B, F, H, W, 1]
 * @param lists of each layer, [B, K, n, keep]
 */
export function selectionPicture(
  video: HostTensor,
  lists: readonly HostTensor[],
  { grid, tile, patch }: { grid: Grid; tile: Grid; patch: Grid },
): Picture {
  const [, F, H, W] = video.shape as [number, number, number, number, number];
  const { counts } = tileLayout(grid, tile);
  const query = counts.map((count) => Math.floor(count / 2));
  const id = (place: readonly number[]): number => (place[0]! * counts[1] + place[1]!) * counts[2] + place[2]!;
  const keep = lists[0]!.shape[3]!;
  const data = new Float32Array(lists.length * F * H * W * 3);
  lists.forEach((list, layer) => {
    const chosen = new Set(list.data.slice(id(query) * keep, (id(query) + 1) * keep));
    for (let i = 0; i < F * H * W; i++) {
      const pixel = [Math.floor(i / (H * W)), Math.floor(i / W) % H, i % W];
      const at = id(pixel.map((x, axis) => Math.floor(x / (patch[axis]! * tile[axis]!))));
      const colour = at === id(query) ? QUERY : chosen.has(at) ? KEY : undefined;
      for (let c = 0; c < 3; c++) {
        const grey = video.data[i] as number;
        data[(layer * F * H * W + i) * 3 + c] = colour === undefined ? grey : (1 - TINT) * grey + TINT * colour[c]!;
      }
    }
  });
  const shape = [lists.length, F, H, W, 3];
  return filmStrip({ dtype: 'float32', shape, data }, { rowLabels: lists.map((_, layer) => `layer ${layer + 1}`), tile: 64 });
}
