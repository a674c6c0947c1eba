import { checkNumber, dims, type Tensor, tf } from '@atelier/tensor';
import { linear } from './linear.ts';

/** Cuts images into tokens: [B, H, W, C] -> [B, T, P·P·C], T = (H/P)·(W/P) in row-major order, a token read as (row, column, channel). */
export function patchify(x: Tensor, patchSize: number): Tensor {
  const { B, H, W, C } = dims<'B' | 'H' | 'W' | 'C'>(x, 'B H W C', 'patchify: x');
  checkNumber('patchify: patchSize', patchSize, { integer: true, min: 1 });
  const P = patchSize;
  if (H % P !== 0 || W % P !== 0)
    throw new Error(`patchify: x: wanted height and width divisible by the patch size ${P}, got ${H} and ${W}`);
  if (P === 1) return tf.reshape(x, [B, H * W, C]);
  const rows = tf.transpose(tf.reshape(x, [B, H / P, P, W / P, P * C]), [0, 1, 3, 2, 4]); // -> [B, h, w, P, P·C]
  return tf.reshape(rows, [B, (H / P) * (W / P), P * P * C]);
}

/** Puts tokens back together, the inverse of `patchify`: [B, h·w, P·P·C] -> [B, h·P, w·P, C]. */
export function unpatchify(tokens: Tensor, grid: { h: number; w: number; patchSize: number }): Tensor {
  const { h, w, patchSize: P } = grid;
  for (const [name, value] of Object.entries({ h, w, patchSize: P })) checkNumber(`unpatchify: ${name}`, value, { integer: true, min: 1 });
  const { B, size } = dims<'B' | 'size'>(tokens, 'B T size', 'unpatchify: tokens', { T: h * w });
  const C = size / (P * P);
  if (!Number.isInteger(C)) throw new Error(`unpatchify: tokens: wanted a width divisible by patchSize² = ${P * P}, got ${size}`);
  if (P === 1) return tf.reshape(tokens, [B, h, w, C]);
  const rows = tf.transpose(tf.reshape(tokens, [B, h, w, P, P * C]), [0, 1, 3, 2, 4]); // -> [B, h, P, w, P·C]
  return tf.reshape(rows, [B, h * P, w * P, C]);
}

/** Patch embedding, a convolution of kernel and stride P: x [B, H, W, C], weight [D, C, P, P] (OIHW), bias [D] -> [B, T, D]. */
export function embedPatches(p: { weight: Tensor; bias: Tensor }, x: Tensor): Tensor {
  const { C } = dims<'C'>(x, 'B H W C', 'embedPatches: x');
  const { D, P } = dims<'D' | 'P'>(p.weight, 'D C P P', 'embedPatches: weight', { C });
  // The weight is turned to the patch's order (row, column, channel): it is smaller than the images, whose channels stay last.
  const weight = tf.reshape(tf.transpose(p.weight, [0, 2, 3, 1]), [D, P * P * C]); // [D, C, P, P] -> [D, P·P·C]
  return linear({ weight, bias: p.bias }, patchify(x, P));
}
