import { loadParameters, type StateDict } from '@atelier/nn';
import type { DenoiserSettings } from './config.ts';
import { denoiserParameters, type DenoiserParams } from './model.ts';

/** Parameters from a checkpoint under their own names. The caller owns them. @throws Error naming every tensor that does not fit */
export function denoiserFromStateDict(tensors: StateDict, settings: DenoiserSettings = {}): DenoiserParams {
  return loadParameters(denoiserParameters(settings), tensors, {}, 'denoiserFromStateDict') as DenoiserParams;
}
