import { songUNetFromStateDict, type SongUNetConfig, type SongUNetParams, type StateDict } from '@atelier/nn';

/** What stands before the names of the network in EDM's wrapper. */
const PREFIX = 'model.';

/**
 * Parameters of a U-Net from the tensors of an EDM or SiD checkpoint, an `EDMPrecond` whose network is `model.…` (official checkpoints are Python pickles:
 * write the `ema` of one as safetensors first). The tensors of the network without the prefix are taken too.
 *
 * @throws Error naming every tensor that is missing, not known, or of another shape
 */
export function sidUNetFromStateDict(tensors: StateDict, config: SongUNetConfig): SongUNetParams {
  const entries = Object.entries(tensors);
  const wrapped = entries.some(([name]) => name.startsWith(PREFIX));
  const own = entries.map(([name, host]) => [wrapped && name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name, host] as const);
  return songUNetFromStateDict(Object.fromEntries(own), config);
}
