import { checkNumber, dims, type Tensor, tf } from '@atelier/tensor';
import { linear } from './linear.ts';

/** Side of a square patch, or its height and width. */
export type PatchSize = number | readonly [height: number, width: number];

function sides(patchSize: PatchSize, where: string): readonly [number, number] {
  const both = typeof patchSize === 'number' ? ([patchSize, patchSize] as const) : patchSize;
  for (const side of both) checkNumber(`${where}: patchSize`, side, { integer: true, min: 1 });
  return both;
}

/**
 * Cuts images into tokens: [B, H, W, C] -> [B, T, P·Q·C] with patches of P × Q pixels. The T = (H/P)·(W/Q) tokens are in row-major order; inside a token
 * the order is (row, column, channel).
 */
export function patchify(x: Tensor, patchSize: PatchSize): Tensor {
  const { B, H, W, C } = dims<'B' | 'H' | 'W' | 'C'>(x, 'B H W C', 'patchify: x');
  const [P, Q] = sides(patchSize, 'patchify');
  if (H % P !== 0 || W % Q !== 0) {
    const wanted = P === Q ? `height and width divisible by the patch size ${P}` : `height divisible by ${P} and width by ${Q}`;
    throw new Error(`patchify: x: wanted ${wanted}, got ${H} and ${W}`);
  }
  if (P === 1 && Q === 1) return tf.reshape(x, [B, H * W, C]);
  const rows = tf.transpose(tf.reshape(x, [B, H / P, P, W / Q, Q * C]), [0, 1, 3, 2, 4]); // -> [B, h, w, P, Q·C]
  return tf.reshape(rows, [B, (H / P) * (W / Q), P * Q * C]);
}

/** Puts tokens back together, the inverse of `patchify`: [B, h·w, P·Q·C] -> [B, h·P, w·Q, C]. */
export function unpatchify(tokens: Tensor, grid: { h: number; w: number; patchSize: PatchSize }): Tensor {
  const { h, w } = grid;
  for (const [name, value] of Object.entries({ h, w })) checkNumber(`unpatchify: ${name}`, value, { integer: true, min: 1 });
  const [P, Q] = sides(grid.patchSize, 'unpatchify');
  const { B, size } = dims<'B' | 'size'>(tokens, 'B T size', 'unpatchify: tokens', { T: h * w });
  const C = size / (P * Q);
  if (!Number.isInteger(C)) throw new Error(`unpatchify: tokens: wanted a width divisible by patchSize² = ${P * Q}, got ${size}`);
  if (P === 1 && Q === 1) return tf.reshape(tokens, [B, h, w, C]);
  const rows = tf.transpose(tf.reshape(tokens, [B, h, w, P, Q * C]), [0, 1, 3, 2, 4]); // -> [B, h, P, w, Q·C]
  return tf.reshape(rows, [B, h * P, w * Q, C]);
}

/** Patch embedding, a convolution whose kernel and stride are P × Q: x [B, H, W, C], weight [D, C, P, Q] (OIHW), bias [D] or none -> [B, T, D]. */
export function embedPatches(p: { weight: Tensor; bias?: Tensor }, x: Tensor): Tensor {
  const { C } = dims<'C'>(x, 'B H W C', 'embedPatches: x');
  const { D, P, Q } = dims<'D' | 'P' | 'Q'>(p.weight, 'D C P Q', 'embedPatches: weight', { C });
  // The weight is transposed to the order of a patch (row, column, channel). It is smaller than the images, whose channels stay last.
  const weight = tf.reshape(tf.transpose(p.weight, [0, 2, 3, 1]), [D, P * Q * C]); // [D, C, P, Q] -> [D, P·Q·C]
  return linear({ ...p, weight }, patchify(x, [P, Q]));
}
