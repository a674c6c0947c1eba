export { gelu, silu, softmax, type GeluKind } from './layers/activation.ts';
export {
  attention,
  mergeHeads,
  multiHeadSelfAttention,
  queriesKeysValues,
  splitHeads,
  type AttentionOptions,
  type SelfAttentionParams,
} from './attention/attention.ts';
export { attendCached, joinKeyValues, pushKeyValue, windowMask, type KeyValueCache } from './attention/key-value-cache.ts';
export {
  blockCausalSlices,
  checkSlices,
  sliceArea,
  sliceBlocks,
  sliceMask,
  takeSpans,
  type AttentionSlice,
  type SliceBlock,
  type SliceKind,
  type Span,
} from './attention/slices.ts';
export { mergeAttention, sliceAttention, sliceAttentionPart, type AttentionPart } from './attention/slice-attention.ts';
export { rotaryTables, rotate, rotatePairs, type RotaryTables } from './attention/rotary.ts';
export { ditFromStateDict } from './dit/checkpoint.ts';
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
} from './dit/config.ts';
export { ditMacs, type DiTMacs } from './dit/cost.ts';
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
} from './dit/model.ts';
export {
  drawDroppedLabels,
  dropLabels,
  embedClass,
  embedTimestep,
  timestepEmbedding,
  type TimestepEmbedderParams,
  type TimestepEmbeddingOptions,
} from './layers/embedding.ts';
export { initParameters, initTensor, parameterCount, type Init, type ParameterTable } from './parameters/init.ts';
export { initLinear, linear, type LinearParams } from './layers/linear.ts';
export { mlp, type MlpParams } from './layers/mlp.ts';
export { layerNorm, modulate, rmsNorm, type NormOptions } from './layers/norm.ts';
export {
  adamW,
  clipByGlobalNorm,
  emaUpdate,
  sgd,
  type AdamState,
  type AdamWOptions,
  type Optimizer,
  type SgdState,
} from './train/optimizer.ts';
export { mapElementWise } from './train/element-wise.ts';
export { embedPatches, patchify, unpatchify, type PatchSize } from './layers/patch.ts';
export { inPieces, pieceCount } from './layers/pieces.ts';
export { sinCosPositions } from './layers/position.ts';
export { constant, cosine, emaEvery, emaWarmUp, linearDecay, warmUp, type Schedule } from './train/schedule.ts';
export { LAYOUT_AXES, loadParameters, type Layout, type LoadOptions, type StateDict } from './parameters/load.ts';
export { convolution, convolutionParameters, type ConvolutionOptions, type ConvolutionParams, type Padding } from './layers/convolution.ts';
export { groupNorm, type GroupNormOptions } from './layers/group-norm.ts';
export { downsampleConvolution, downsampleMean, upsampleConvolution, upsampleNearest } from './layers/resize.ts';
export { spatialAttention, spatialAttentionParameters, type QkvLayout, type SpatialAttentionParams } from './attention/spatial.ts';
export { downsample, upsample, type ResampleFilter } from './layers/resample.ts';
export { songUNetFromStateDict } from './unet/checkpoint.ts';
export { parseSongUNetConfig, songUNetConfig, type SongUNetConfig, type SongUNetSettings } from './unet/config.ts';
export { drawDropout, type DropoutFactors } from './unet/dropout.ts';
export { songUNetLayout, songUNetParameters, type UNetBlock, type UNetLayout } from './unet/layout.ts';
export {
  applySongUNet,
  decodeSongUNet,
  encodeSongUNet,
  initSongUNet,
  type SongUNetInputs,
  type SongUNetParams,
  type UNetBlockParams,
  type UNetFeatures,
} from './unet/model.ts';
