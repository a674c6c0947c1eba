export { vsaAttention, vsaStages, type VsaOptions, type VsaStages } from './attention.ts';
export { vsaPacked, type PackedOptions } from './packed.ts';
export { checkScores } from './check-scores.ts';
export { coarseStage, poolTiles, type Coarse } from './coarse.ts';
export { fineStage } from './fine.ts';
export { keepFor, selectionMask, selectTiles, type Keep } from './select.ts';
export { DEFAULT_TILE, fromTiles, tileIndices, tileLayout, toTiles, type Grid, type TileIndices, type TileLayout } from './tile.ts';
export { sumOfPairs, transposeLists, type TransposedLists } from './tile-lists.ts';
export { annealedKeep, officialSparsityAt, sparsityAt, type SparsitySchedule } from './schedule.ts';
export {
  denseAttentionFlops,
  savingAtShare,
  sparseAttentionFlops,
  trainingFlops,
  TRAINING_OPERATIONS,
  type AttentionSize,
} from './cost.ts';
export { capturedMass, tilesOfTokens } from './captured-mass.ts';
export { videoRotaryTables } from './rotary.ts';
export { wanConfig, type WanConfig, type WanSettings } from './config.ts';
export {
  blockNorm,
  selfAttentionInputs,
  wanBlock,
  type BlockSizes,
  type SelfAttentionInputs,
  type VideoMixer,
  type WanAttentionParams,
  type WanBlockParams,
} from './block.ts';
export {
  applyWan,
  blockParameters,
  initWan,
  tokenGrid,
  wanParameterCount,
  wanParameters,
  type LayerMixer,
  type WanAttention,
  type WanParams,
} from './model.ts';
export { retrofitWan, wanFromStateDict } from './checkpoint.ts';
