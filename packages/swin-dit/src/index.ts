export {
  attentionKind,
  parseSwinDiT,
  swinDiTConfig,
  swinDiTSettings,
  type AttentionKind,
  type SwinDiTConfig,
  type SwinDiTSettings,
} from './config.ts';
export { attentionProfile, meanDistance, shareWithin, type AttentionProfile, type DistanceMetric } from './attention-distance.ts';
export { swinDiTFromDiT, swinDiTFromStateDict } from './checkpoint.ts';
export { attentionMacs, swinDiTMacs, type SwinDiTMacs } from './cost.ts';
export { allocateHeads, type HeadRamp } from './head-allocation.ts';
export { bridgeKernel, swinDiTLayers, type SwinDiTLayer } from './layers.ts';
export {
  applySwinDiT,
  initSwinDiT,
  layerAttention,
  swinDiTAttention,
  swinDiTParameterCount,
  swinDiTParameters,
  type SwinDiTBlockParams,
  type SwinDiTParams,
} from './model.ts';
export { pswa, pswaBranches, type PswaBranches, type PswaLayer, type PswaParams } from './pswa.ts';
export { bridge, type BridgeParams } from './bridge.ts';
export { attendInWindows, maskedBias, windowAttention, type WindowAttentionParams } from './window-attention.ts';
export { relativePositionBias, relativePositionIndex } from './relative-position.ts';
export { rollTokens, shiftMask } from './shift.ts';
export { seamRatio } from './seam.ts';
export { swinBlock, type SwinBlockParams } from './swin-block.ts';
export { windowPartition, windowReverse, windowSide, type Grid, type WindowSize } from './window.ts';
