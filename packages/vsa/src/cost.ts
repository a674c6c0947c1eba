import { checkNumber } from '@atelier/tensor';

/** An attention whose cost is counted. */
export type AttentionSize = { tokens: number; heads: number; headDim: number; layers: number };

/** Floating-point operations of training for each token, head channel and key: 4 forward and 2.5 times as many backward, as FlashAttention counts them. */
export const TRAINING_OPERATIONS = 14;

/**
 * Operations of dense attention for each token of training: 14·S·A·H·L (Sec. 2.9 of the specification; the constant of the paper is not known, and 12 is the
 * other one in use).
 */
export function denseAttentionFlops({ tokens, heads, headDim, layers }: AttentionSize, constant = TRAINING_OPERATIONS): number {
  checkSizes('denseAttentionFlops', { tokens, heads, headDim, layers, constant });
  return constant * tokens * heads * headDim * layers;
}

/** Operations of video sparse attention for each token of training, with all tiles full. `coarse` is 1/E² of dense attention, `fine` is keep/n of it. */
export function sparseAttentionFlops(
  size: AttentionSize,
  { keep, volume }: { keep: number; volume: number },
  constant = TRAINING_OPERATIONS,
): { fine: number; coarse: number; total: number } {
  checkSizes('sparseAttentionFlops', { keep, volume });
  const dense = denseAttentionFlops(size, constant);
  if (keep * volume > size.tokens)
    throw new Error(`sparseAttentionFlops: keep: wanted at most ${size.tokens / volume} tiles of ${volume} tokens, got ${keep}`);
  const fine = (dense * keep * volume) / size.tokens;
  const coarse = dense / volume ** 2;
  return { fine, coarse, total: fine + coarse };
}

/** Operations of training for each token: 6 for each parameter, and those of attention. Element-wise operations are not counted. */
export function trainingFlops(parameters: number, attention: number): number {
  checkSizes('trainingFlops', { parameters });
  checkNumber('trainingFlops: attention', attention, { min: 0 });
  return 6 * parameters + attention;
}

/**
 * How many times fewer operations training takes if a share of them is dense attention, of which the share `density` is left: 1/(1 - (1 - density)·share). At the
 * paper's 410 M parameters (share 0.691, density 1/8) this is 2.53.
 */
export function savingAtShare(share: number, density: number): number {
  checkNumber('savingAtShare: share', share, { min: 0, max: 1 });
  checkNumber('savingAtShare: density', density, { above: 0, max: 1 });
  return 1 / (1 - (1 - density) * share);
}

function checkSizes(where: string, sizes: Record<string, number>): void {
  for (const [name, value] of Object.entries(sizes)) checkNumber(`${where}: ${name}`, value, { above: 0 });
}
