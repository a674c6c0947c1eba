import { layerNorm, mlp, type MlpParams } from '@atelier/nn';
import { dims, tf, type Tensor } from '@atelier/tensor';
import { rollTokens, shiftMask } from './shift.ts';
import { windowAttention, type WindowAttentionParams } from './window-attention.ts';
import { windowPartition, windowReverse, windowSide, type Grid } from './window.ts';

type Norm = { weight: Tensor; bias: Tensor };

/** Parameters of a block of the Swin transformer under its names. */
export type SwinBlockParams = { norm1: Norm; attn: WindowAttentionParams; norm2: Norm; mlp: MlpParams };

/**
 * A block of the original Swin transformer (microsoft/Swin-Transformer swin_transformer.py:175): x [B, h·w, D] -> [B, h·w, D].
 *
 * Affine layer norm with ε = 1e-5, roll by (-s, -s), attention in windows under the mask, roll back, residual; layer norm, MLP with the erf GELU, residual.
 * On a grid that is no larger than a window there is one window and no shift.
 */
export function swinBlock(
  p: SwinBlockParams,
  x: Tensor,
  { grid, heads, window, shift = 0 }: { grid: Grid; heads: number; window: number; shift?: number },
): Tensor {
  const { h, w } = grid;
  const M = windowSide(grid, window, 'swinBlock');
  const s = Math.min(h, w) <= window ? 0 : shift;
  const { B, D } = dims<'B' | 'D'>(x, 'B T D', 'swinBlock: x', { T: h * w });
  const mask = s === 0 ? undefined : tf.tensor3d(shiftMask(grid, M, s, -Infinity), [(h * w) / (M * M), M * M, M * M]);

  const moved = rollTokens(layerNorm(x, { eps: 1e-5, ...p.norm1 }), grid, s);
  const windows = tf.reshape(windowPartition(tf.reshape(moved, [B, h, w, D]), M), [-1, M * M, D]); // -> [B·n, M², D]
  const attended = windowAttention(p.attn, windows, { rows: M, columns: M, heads, ...(mask && { mask }) });
  const tokens = tf.reshape(windowReverse(tf.reshape(attended, [-1, M, M, D]), grid), [B, h * w, D]);
  const mixed = tf.add(x, rollTokens(tokens, grid, -s));

  return tf.add(mixed, mlp(p.mlp, layerNorm(mixed, { eps: 1e-5, ...p.norm2 }), 'gelu-erf'));
}
