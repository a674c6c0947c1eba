import { loadParameters } from '@atelier/nn';
import { parseConfig, type HostTensor, type Tensor } from '@atelier/tensor';
import { tarflowConfig, tarflowParameters, tokenSizes, type TarFlowSettings } from './config.ts';
import type { TarFlow } from './model.ts';

/** Masks that official checkpoints carry along; they follow from the number of tokens. */
const MASKS = /^blocks\.\d+\.attn_mask$/;

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
