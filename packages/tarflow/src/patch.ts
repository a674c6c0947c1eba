import { checkNumber, dims, type Tensor, tf } from '@atelier/tensor';

/**
 * Images to tokens: x [B, H, W, C] -> [B, T, D], T = (H/S)·(W/S) in row-major order, D = C·S².
 *
 * Inside a token the order is channel-major, (channel, row, column), as PyTorch's `pixel_unshuffle` leaves it; nn's `patchify` has the channel
 * last. (apple/ml-tarflow transformer_flow.py:288.)
 */
export function patchify(x: Tensor, patchSize: number): Tensor {
  const { B, H, W, C } = dims<'B' | 'H' | 'W' | 'C'>(x, 'B H W C', 'patchify: x');
  const S = checkPatch(patchSize, H, W, 'patchify: x');
  const [h, w] = [H / S, W / S];
  const patches = tf.transpose(tf.reshape(x, [B, h, S, w, S * C]), [0, 1, 3, 2, 4]); // -> [B, h, w, S, S·C]
  const channelFirst = tf.transpose(tf.reshape(patches, [B * h * w, S * S, C]), [0, 2, 1]); // -> [B·T, C, S·S]
  return tf.reshape(channelFirst, [B, h * w, C * S * S]);
}

/** Tokens to images, the inverse of `patchify`: [B, T, C·S²] -> [B, H, W, C]. */
export function unpatchify(
  tokens: Tensor,
  { imageSize: [H, W], patchSize }: { imageSize: readonly [number, number]; patchSize: number },
): Tensor {
  const S = checkPatch(patchSize, H, W, 'unpatchify: imageSize');
  const [h, w] = [H / S, W / S];
  const { B, D } = dims<'B' | 'D'>(tokens, 'B T D', 'unpatchify: tokens', { T: h * w });
  const C = D / (S * S);
  if (!Number.isInteger(C)) throw new Error(`unpatchify: tokens: wanted a width divisible by patchSize² = ${S * S}, got ${D}`);
  const channelLast = tf.transpose(tf.reshape(tokens, [B * h * w, C, S * S]), [0, 2, 1]); // -> [B·T, S·S, C]
  const rows = tf.transpose(tf.reshape(channelLast, [B, h, w, S, S * C]), [0, 1, 3, 2, 4]); // -> [B, h, S, w, S·C]
  return tf.reshape(rows, [B, H, W, C]);
}

function checkPatch(patchSize: number, H: number, W: number, where: string): number {
  checkNumber(`${where.split(':')[0]}: patchSize`, patchSize, { integer: true, min: 1 });
  if (H % patchSize !== 0 || W % patchSize !== 0)
    throw new Error(`${where}: wanted height and width divisible by the patch size ${patchSize}, got ${H} and ${W}`);
  return patchSize;
}
