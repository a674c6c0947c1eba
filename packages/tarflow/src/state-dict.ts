import { type HostTensor, parseConfig, type Tensor, tf, toTensor, unflattenTree } from '@atelier/tensor';
import { tarflowConfig, tarflowParameters, tokenSizes, type TarFlowSettings } from './config.ts';
import type { TarFlow } from './model.ts';

/** Masks that official checkpoints carry along; they follow from the number of tokens. */
const IGNORED = /^blocks\.\d+\.attn_mask$/;

/**
 * A model from the tensors of an official checkpoint of apple/ml-tarflow or encoreus/GS-Jacobi_for_TarFlow, whose names are ours (a `.pth` file
 * is to be saved as safetensors first; `flattenTree(model)` is the way back). The tensors are copied, the caller owns the model.
 * @throws Error that names every tensor that is missing, not known, or of another shape or type
 */
export function loadTarFlow(tensors: Readonly<Record<string, HostTensor | Tensor>>, settings: TarFlowSettings): TarFlow {
  const config = parseConfig(tarflowConfig, settings, 'loadTarFlow');
  const { T, D } = tokenSizes(config);
  const wanted: Record<string, readonly number[]> = { var: [T, D] };
  for (const [name, { shape }] of Object.entries(tarflowParameters(settings))) wanted[name] = shape;
  const missing = Object.keys(wanted).filter((name) => !Object.hasOwn(tensors, name));
  const extra = Object.keys(tensors).filter((name) => !Object.hasOwn(wanted, name) && !IGNORED.test(name));
  const wrong = Object.entries(wanted).flatMap(([name, shape]) => {
    const found = Object.hasOwn(tensors, name) ? tensors[name]! : null;
    if (found === null || (found.dtype === 'float32' && found.shape.join() === shape.join())) return [];
    return [`${name} (wanted float32 [${shape.join(', ')}], got ${found.dtype} [${found.shape.join(', ')}])`];
  });
  const complaints = [
    missing.length > 0 ? `missing ${missing.join(', ')}` : '',
    extra.length > 0 ? `not of this model ${extra.join(', ')}` : '',
    wrong.length > 0 ? `misshapen ${wrong.join(', ')}` : '',
  ].filter((text) => text !== '');
  if (complaints.length > 0)
    throw new Error(`loadTarFlow: wanted the tensors of the model, got a state dict with ${complaints.join('; ')}`);
  const copy = (x: HostTensor | Tensor): Tensor => (x instanceof tf.Tensor ? x.clone() : toTensor(x));
  return unflattenTree(Object.fromEntries(Object.keys(wanted).map((name) => [name, copy(tensors[name]!)]))) as TarFlow;
}
