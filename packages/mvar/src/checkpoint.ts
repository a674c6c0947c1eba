import { parametersFrom, parseConfig, type StateDict } from '@atelier/nn';
import { mvarConfig, mvarParameters, type MvarSettings } from './config.ts';
import type { MvarParams } from './model.ts';

/** What official state dicts carry that is no parameter: level numbers, the mask, the keys' bias of zeros. */
const BUFFERS = /^(lvl_1L|attn_bias_for_masking|blocks\.\d+\.attn\.zero_k_bias)$/;

/**
 * Parameters from an official state dict of VAR or MVAR, whose names and shapes are the same. The caller owns them.
 *
 * The mask among the buffers is not read. The official code does read it, so that an MVAR fine-tuned from VAR trains its packed scales with VAR's mask and
 * samples without (models/mvar.py:180, train.py:149).
 *
 * @throws Error naming what does not fit
 */
export function mvarFromStateDict(tensors: StateDict, settings: MvarSettings): MvarParams {
  const config = parseConfig(mvarConfig, settings, 'mvarFromStateDict');
  const own = Object.fromEntries(Object.entries(tensors).filter(([name]) => !BUFFERS.test(name)));
  return parametersFrom(own, mvarParameters(config), 'mvarFromStateDict') as unknown as MvarParams;
}
