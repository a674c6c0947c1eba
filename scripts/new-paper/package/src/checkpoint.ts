import { parametersFrom, type StateDict } from '@atelier/nn';
import type { DenoiserSettings } from './config.ts';
import { denoiserParameters, type DenoiserParams } from './model.ts';

/** Parameters from a checkpoint under their own names. The caller owns them. @throws Error naming a tensor that does not fit */
export function denoiserFromStateDict(tensors: StateDict, settings: DenoiserSettings = {}): DenoiserParams {
  return parametersFrom(tensors, denoiserParameters(settings), 'denoiserFromStateDict') as DenoiserParams;
}
