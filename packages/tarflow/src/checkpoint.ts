import { loadParameters } from '@atelier/nn';
import { parseConfig, type HostTensor, type Tensor } from '@atelier/tensor';
import { tarflowConfig, tarflowParameters, tokenSizes, type TarFlowConfig, type TarFlowSettings } from './config.ts';
import type { TarFlow } from './model.ts';

/** Masks that official checkpoints carry along; they follow from the number of tokens. */
const MASKS = /^blocks\.\d+\.attn_mask$/;

/**
 * Our settings from the official argument names, as the metadata of a checkpoint holds them: `img_size`, `in_channels`, `patch_size`, `channels`,
 * `num_blocks`, `layers_per_block`, `num_classes`, and where they differ from the official constants `head_dim`, `expansion` and `nvp`.
 * The values are numbers, or texts such as `16` and `True`.
 * @throws Error that names the first setting that is missing or out of range
 */
export function officialTarFlowConfig(names: Readonly<Record<string, unknown>>): TarFlowConfig {
  const number = (name: string): number | undefined => (names[name] === undefined ? undefined : Number(names[name]));
  const settings = {
    imageSize: number('img_size'),
    inChannels: number('in_channels'),
    patchSize: number('patch_size'),
    width: number('channels'),
    blocks: number('num_blocks'),
    layers: number('layers_per_block'),
    numClasses: number('num_classes'),
    headSize: number('head_dim'),
    expansion: number('expansion'),
    volumePreserving: names.nvp !== undefined && /^(false|0)$/i.test(String(names.nvp)),
  };
  return parseConfig(tarflowConfig, settings, 'officialTarFlowConfig');
}

/**
 * A model from the tensors of an official checkpoint of apple/ml-tarflow or encoreus/GS-Jacobi_for_TarFlow, whose names are ours (a `.pth` file
 * is to be saved as safetensors first; `flattenTree(model)` is the way back). The tensors are copied, the caller owns the model.
 * @throws Error that names every tensor that is missing, not known, or of another shape or type
 */
export function loadTarFlow(tensors: Readonly<Record<string, HostTensor | Tensor>>, settings: TarFlowSettings): TarFlow {
  const config = parseConfig(tarflowConfig, settings, 'loadTarFlow');
  const { T, D } = tokenSizes(config);
  const table = { var: { shape: [T, D], init: 'ones' as const }, ...tarflowParameters(settings) };
  return loadParameters(table, tensors, { ignore: MASKS }, 'loadTarFlow') as TarFlow;
}
