import { parseConfig } from '@atelier/tensor';
import { loadParameters, type StateDict } from '@atelier/nn';
import { mvarConfig, mvarParameters, type MvarSettings } from './config.ts';
import type { MvarParams } from './model.ts';

/** Tensors of official state dicts that are not parameters: level numbers, the mask, and the keys' bias of zeros. */
const BUFFERS = /^(lvl_1L|attn_bias_for_masking|blocks\.\d+\.attn\.zero_k_bias)$/;

/**
 * Parameters from an official state dict of VAR or MVAR; both have the same names and shapes. The caller owns them.
 *
 * The mask in the state dict is not read. The official code does read it, so an MVAR that is fine-tuned from VAR trains its scales without windows
 * with VAR's mask, but samples without it (models/mvar.py:180, train.py:149).
 *
 * @throws Error naming every tensor that does not fit
 */
export function mvarFromStateDict(tensors: StateDict, settings: MvarSettings): MvarParams {
  const config = parseConfig(mvarConfig, settings, 'mvarFromStateDict');
  return loadParameters(mvarParameters(config), tensors, { ignore: BUFFERS }, 'mvarFromStateDict') as unknown as MvarParams;
}
