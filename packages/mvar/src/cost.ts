import { checkNumber, parseConfig } from '@atelier/tensor';
import { firstSeen, hasWindow, mvarConfig, type MvarConfig, type MvarSettings } from './config.ts';
import { scalesOf, tokenCount, tokensOf, type ScaleRange } from './ladder.ts';
import { rangeOf } from './model.ts';
import { tiledPairs } from './neighborhood.ts';
import { pastTokens } from './step.ts';

/** P: number of pairs of a query and a key that it sees, over all scales. */
export function visiblePairCount(settings: MvarSettings): number {
  const config = parseConfig(mvarConfig, settings, 'visiblePairCount');
  return scalesOf(config.ladder).reduce((sum, { index }) => sum + scalePairs(index, config), 0);
}

function scalePairs(l: number, config: MvarConfig): number {
  const scales = scalesOf(config.ladder);
  const { tokens } = scales[l]!;
  if (hasWindow(config, l)) return tokens * config.kernelSize ** 2;
  return tokens * tokensOf(scales.slice(firstSeen(l, config), l + 1));
}

/**
 * Multiply-accumulates of attention for one image without guidance: D·(3C²N + 2C·P), for the projections to q, k, v and the products QKᵀ and AV. The output
 * projection and the MLPs are not counted. The paper's tables call this number, divided by 10⁹, GFLOPs.
 */
export function attentionMacs(settings: MvarSettings): number {
  const { depth, width: C, ladder } = parseConfig(mvarConfig, settings, 'attentionMacs');
  return depth * (3 * C * C * tokenCount(ladder) + 2 * C * visiblePairCount(settings));
}

/**
 * Bytes of the keys and values (float32) that the official sampler holds after the last step, for B images: 2·D·M·C·4 for each image, twice that with
 * guidance. M is the number of cached tokens: those of the last w - 1 scales, so none for MVAR; for VAR those of all K scales, because it also keeps
 * the last one.
 */
export function cacheBytes(settings: MvarSettings, B: number, guided: boolean): number {
  const { depth, width: C, ladder, historyScales: w } = parseConfig(mvarConfig, settings, 'cacheBytes');
  checkNumber('cacheBytes: B', B, { integer: true, min: 1 });
  const kept = w === ladder.length ? ladder : ladder.slice(ladder.length - (w - 1));
  return 2 * depth * tokenCount(kept) * C * B * (guided ? 2 : 1) * 4;
}

/** Bytes of keys and values that our sampler keeps after step l for the next one; 0 after the last step. */
export function keptBytes(settings: MvarSettings, l: number, B: number, guided: boolean): number {
  const config = parseConfig(mvarConfig, settings, 'keptBytes');
  checkNumber('keptBytes: l', l, { integer: true, min: 0, max: config.ladder.length - 1 });
  if (l === config.ladder.length - 1 || config.historyScales === 1) return 0;
  return 2 * config.depth * pastTokens(l + 1, config) * config.width * B * (guided ? 2 : 1) * 4;
}

/**
 * Multiply-accumulates of `mvarForward` for one sample: all projections, MLPs, modulations and the head, and 2C for each pair of query and key that
 * is multiplied. With windows these are more pairs than see each other, because of the tiles (`tiledPairs`).
 *
 * @param range the scales of the pass; all if absent
 */
export function forwardMacs(settings: MvarSettings, range?: ScaleRange): number {
  const config = parseConfig(mvarConfig, settings, 'forwardMacs');
  const { width: C, depth, latentChannels: c, codes: V, mlpRatio } = config;
  const scales = rangeOf(range ?? { first: 0, end: config.ladder.length }, config, 'forwardMacs');
  const n = tokensOf(scales);
  const read = n - (scales[0]!.index === 0 ? scales[0]!.tokens : 0);
  const pairs = scales.reduce((sum, { index, side }) => {
    const worked = hasWindow(config, index) ? tiledPairs({ H: side, W: side, kernel: config.kernelSize }) : scalePairs(index, config);
    return sum + worked;
  }, 0);
  const block = 4 * n * C * C + 2 * n * C * Math.round(C * mlpRatio) + 2 * C * pairs;
  const modulation = 6 * C * C * (config.sharedAdaLN ? 1 : depth) + 2 * C * C;
  return depth * block + modulation + read * c * C + n * C * V;
}
