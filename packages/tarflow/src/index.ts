export * from './config.ts';
export { patchify, unpatchify } from './patch.ts';
export {
  blockForward,
  conditioner,
  permute,
  shiftByOne,
  tokenContext,
  type BlockParams,
  type Conditioner,
  type KeyValues,
  type LayerParams,
  type NormParams,
} from './block.ts';
export { initTarFlow, tarflowForward, type Flow, type TarFlow, type TarFlowParams } from './model.ts';
