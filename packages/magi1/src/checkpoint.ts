import { loadParameters, type StateDict } from '@atelier/nn';
import { magiParameters, type MagiSettings } from './config.ts';
import type { MagiParams } from './model.ts';

/**
 * Parameters of an official state dict (`model.safetensors`, or its index of shards), by official names. The caller owns them.
 * @throws Error that names every tensor that is missing, unknown or misshapen
 */
export function magiFromStateDict(tensors: StateDict, settings: MagiSettings): MagiParams {
  return loadParameters(magiParameters(settings), tensors, {}, 'magiFromStateDict') as unknown as MagiParams;
}
