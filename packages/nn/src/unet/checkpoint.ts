import { loadParameters, type StateDict } from '../parameters/load.ts';
import type { SongUNetConfig } from './config.ts';
import { songUNetParameters } from './layout.ts';
import type { SongUNetParams } from './model.ts';

const FILTER = '.resample_filter';

/**
 * Parameters from an official state dict of SongUNet (names as `enc.32x32_block0.conv0.weight`; cut a prefix like `model.` or `net_ema.` off before).
 * The buffers `….resample_filter` in it must be those of `config.filter`.
 *
 * @throws Error naming every tensor that is missing, not known, or of another type or shape, or the first other filter
 */
export function songUNetFromStateDict(tensors: StateDict, config: SongUNetConfig): SongUNetParams {
  const where = 'songUNetFromStateDict';
  const total = config.filter.reduce((a, b) => a + b, 0) ** 2;
  const size = config.filter.length;
  for (const [name, { data }] of Object.entries(tensors)) {
    if (!name.endsWith(FILTER)) continue;
    const wanted = Array.from({ length: size * size }, (_, i) => (config.filter[Math.floor(i / size)]! * config.filter[i % size]!) / total);
    if (data.length !== wanted.length || wanted.some((value, i) => Math.abs(value - Number(data[i])) > 1e-6))
      throw new Error(`${where}: ${name}: wanted the filter [${config.filter.join(', ')}], got ${data.length} other numbers`);
  }
  return loadParameters(songUNetParameters(config), tensors, { ignore: /\.resample_filter$/ }, where) as SongUNetParams;
}
