export { gelu, silu, softmax, type GeluKind } from './activation.ts';
export {
  attention,
  mergeHeads,
  multiHeadSelfAttention,
  queriesKeysValues,
  splitHeads,
  type AttentionOptions,
  type SelfAttentionParams,
} from './attention.ts';
export { ditFromStateDict } from './dit-checkpoint.ts';
export {
  ditConfig,
  ditDimensions,
  ditNames,
  ditOutChannels,
  ditParameterCount,
  ditParameters,
  ditSizes,
  officialDiTConfig,
  type DiTConfig,
  type DiTName,
  type DiTSettings,
} from './dit-config.ts';
export { ditMacs, type DiTMacs } from './dit-cost.ts';
export {
  applyDiT,
  ditBlock,
  ditBlocks,
  ditCondition,
  ditFinalLayer,
  initDiT,
  type DiTBlockParams,
  type DiTFinalParams,
  type DiTInputs,
  type DiTParams,
  type TokenMixer,
} from './dit.ts';
export {
  drawDroppedLabels,
  dropLabels,
  embedClass,
  embedTimestep,
  timestepEmbedding,
  type TimestepEmbedderParams,
  type TimestepEmbeddingOptions,
} from './embedding.ts';
export { initParameters, initTensor, parameterCount, type Init, type ParameterTable } from './init.ts';
export { initLinear, linear, type LinearParams } from './linear.ts';
export { mlp, type MlpParams } from './mlp.ts';
export { layerNorm, modulate, rmsNorm, type NormOptions } from './norm.ts';
export { adamW, clipByGlobalNorm, emaUpdate, sgd, type AdamState, type AdamWOptions, type Optimizer, type SgdState } from './optimizer.ts';
export { embedPatches, patchify, unpatchify } from './patch.ts';
export { inPieces, pieceCount } from './pieces.ts';
export { sinCosPositions } from './position.ts';
export { constant, cosine, emaEvery, emaWarmUp, linearDecay, warmUp, type Schedule } from './schedule.ts';
export { parametersFrom, type StateDict } from './state-dict.ts';
export { convolution, convolutionParameters, type ConvolutionOptions, type ConvolutionParams, type Padding } from './layers/convolution.ts';
export { groupNorm, type GroupNormOptions } from './layers/group-norm.ts';
export { downsampleConvolution, downsampleMean, upsampleConvolution, upsampleNearest } from './layers/resize.ts';
export { spatialAttention, spatialAttentionParameters, type SpatialAttentionParams } from './attention/spatial.ts';
