import type { Golden, GoldenFile } from '@atelier/testkit';
import { mvarConfig, mvarFromStateDict, varSettings, type MvarConfig, type MvarParams, type QuantizerParams } from '../../src/index.ts';
import { json, treeOf } from './layout.ts';

/** The file of weights that the other files of a folder share. */
const weightsOf = (all: Golden): GoldenFile => all.load(all.files('model_weights')[0]!);

/** Settings of the model in a folder, as VAR or as MVAR. */
export function modelOf(all: Golden, kind: 'var' | 'mvar', more: Partial<MvarConfig> = {}): MvarConfig {
  const file = weightsOf(all);
  const network = {
    ladder: json<number[]>(file, 'patch_nums'),
    width: Number(file.setting('embed_dim')),
    depth: Number(file.setting('depth')),
    heads: Number(file.setting('num_heads')),
    latentChannels: Number(file.setting('Cvae')),
    codes: Number(file.setting('vocab_size')),
    numClasses: Number(file.setting('num_classes')),
    l2Norm: file.setting('attn_l2_norm') === true,
    sharedAdaLN: file.setting('shared_aln') === true,
    mlpRatio: Number(file.setting('mlp_ratio')),
  };
  const markov = { ...network, refineStep: Number(file.setting('refine_step')), kernelSize: Number(file.setting('kernel_size')) };
  return mvarConfig.parse({ ...(kind === 'var' ? varSettings(network) : markov), ...more });
}

/** The transformer's parameters, read as a user reads a checkpoint, and the quantizer's. */
export function paramsOf(all: Golden, config: MvarConfig): { params: MvarParams; quantizer: QuantizerParams } {
  const file = weightsOf(all);
  const tensors = file.tensors();
  const network = Object.fromEntries(Object.entries(tensors).filter(([name]) => !name.startsWith('vae.')));
  return { params: mvarFromStateDict(network, config), quantizer: treeOf(file.tensors('vae.quantize.')) as QuantizerParams };
}
