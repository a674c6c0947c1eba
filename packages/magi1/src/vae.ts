import {
  attention,
  initParameters,
  layerNorm,
  linear,
  loadParameters,
  mergeHeads,
  mlp,
  queriesKeysValues,
  type LinearParams,
  type MlpParams,
  type ParameterTable,
  type SelfAttentionParams,
  type StateDict,
} from '@atelier/nn';
import { checkNumber, closedForm, dims, parseConfig, sumLast, tf, type Rng, type Tensor } from '@atelier/tensor';
import { z } from 'zod';

const size = z.int().min(1);

/** Settings of the video autoencoder. It has one position embedding for each patch of the native size; for other sizes the embeddings are interpolated. */
export const vaeConfig = z
  .strictObject({
    /** Native height and width of a video in pixels. */
    videoSize: size,
    /** Native number of frames. */
    videoLength: size,
    /** Height and width of a patch in pixels. */
    patchSize: size,
    /** Number of frames of a patch. */
    patchLength: size,
    /** Channels of a pixel. */
    channels: size.default(3),
    /** Channels of a latent. */
    latentChannels: size,
    width: size,
    depth: size,
    heads: size,
    mlpRatio: z.number().positive().default(4),
  })
  .superRefine((c, context) => {
    const fault = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (c.videoSize % c.patchSize !== 0) fault('patchSize', `wanted a divisor of ${c.videoSize}, got ${c.patchSize}`);
    if (c.videoLength % c.patchLength !== 0) fault('patchLength', `wanted a divisor of ${c.videoLength}, got ${c.patchLength}`);
    if (c.width % c.heads !== 0) fault('heads', `wanted a divisor of the width ${c.width}, got ${c.heads}`);
    const volume = c.patchLength * c.patchSize ** 2;
    if (c.width % volume !== 0) fault('width', `wanted a multiple of the ${volume} pixels of a patch, got ${c.width}`);
  });
export type VaeConfig = z.output<typeof vaeConfig>;
export type VaeSettings = z.input<typeof vaeConfig>;

type BlockParams = { attn: SelfAttentionParams; norm2: LinearParams; mlp: MlpParams };
type Half = { cls_token: Tensor; pos_embed: Tensor; blocks: BlockParams[]; norm: LinearParams; last_layer: LinearParams };
export type VaeParams = { encoder: Half & { patch_embed: { proj: LinearParams } }; decoder: Half & { proj_in: LinearParams } };

/** Shape and initialization of every parameter, by official name. */
export function vaeParameters(settings: VaeSettings): ParameterTable {
  const c = parseConfig(vaeConfig, settings, 'vaeParameters');
  const table: ParameterTable = {};
  const layer = (name: string, ...shape: number[]): void => {
    table[`${name}.weight`] = { shape, init: 'xavier' };
    table[`${name}.bias`] = { shape: [shape[0]!], init: 'zeros' };
  };
  const norm = (name: string): void => {
    table[`${name}.weight`] = { shape: [c.width], init: 'ones' };
    table[`${name}.bias`] = { shape: [c.width], init: 'zeros' };
  };
  const [T, H] = nativeGrid(c);
  for (const half of ['encoder', 'decoder']) {
    table[`${half}.cls_token`] = { shape: [1, 1, c.width], init: { normal: 0.02 } };
    table[`${half}.pos_embed`] = { shape: [1, T * H * H + 1, c.width], init: { normal: 0.02 } };
    for (let i = 0; i < c.depth; i++) {
      const at = `${half}.blocks.${i}`;
      layer(`${at}.attn.qkv`, 3 * c.width, c.width);
      layer(`${at}.attn.proj`, c.width, c.width);
      norm(`${at}.norm2`);
      layer(`${at}.mlp.fc1`, Math.round(c.width * c.mlpRatio), c.width);
      layer(`${at}.mlp.fc2`, c.width, Math.round(c.width * c.mlpRatio));
    }
    norm(`${half}.norm`);
  }
  layer('encoder.patch_embed.proj', c.width, c.channels, c.patchLength, c.patchSize, c.patchSize);
  layer('encoder.last_layer', 2 * c.latentChannels, c.width);
  layer('decoder.proj_in', c.width, c.latentChannels);
  layer('decoder.last_layer', c.channels, c.width / (c.patchLength * c.patchSize ** 2), 3, 3, 3);
  return table;
}

/** New parameters. The caller owns them. */
export const initVae = (rng: Rng, settings: VaeSettings): VaeParams => initParameters(rng, vaeParameters(settings)) as unknown as VaeParams;

/** Parameters of an official state dict. @throws Error that names every tensor that does not fit */
export const vaeFromStateDict = (tensors: StateDict, settings: VaeSettings): VaeParams =>
  loadParameters(vaeParameters(settings), tensors, {}, 'vaeFromStateDict') as unknown as VaeParams;

const nativeGrid = ({ videoLength, patchLength, videoSize, patchSize }: VaeConfig): [T: number, side: number] => [
  videoLength / patchLength,
  videoSize / patchSize,
];

/** Mean and log-variance of latents, both [B, T, H, W, C]. */
export type LatentMoments = { mean: Tensor; logVariance: Tensor };

/**
 * Encodes videos [B, F, H, W, 3] in [-1, 1]: one latent for each patch. The log-variance is limited to [-30, 20]. The latents are not scaled; the
 * released video networks expect them times 0.18215.
 *
 * @throws Error if a side is no multiple of its patch
 */
export function encodeVideo(p: VaeParams, x: Tensor, settings: VaeSettings): LatentMoments {
  const c = parseConfig(vaeConfig, settings, 'encodeVideo');
  const { B, F, H, W } = dims<'B' | 'F' | 'H' | 'W'>(x, 'B F H W C', 'encodeVideo: x', { C: c.channels });
  const [P, Q] = [c.patchLength, c.patchSize];
  if (F % P !== 0 || H % Q !== 0 || W % Q !== 0)
    throw new Error(`encodeVideo: x: wanted frames divisible by ${P} and sides by ${Q}, got ${F} frames of ${H} × ${W}`);
  const grid = [F / P, H / Q, W / Q] as const;
  const patches = tf.transpose(tf.reshape(x, [B, grid[0], P, grid[1], Q, grid[2], Q * c.channels]), [0, 1, 3, 5, 2, 4, 6]); // -> [B, T, h, w, P, Q, Q·C]
  const weight = tf.reshape(tf.transpose(p.encoder.patch_embed.proj.weight, [0, 2, 3, 4, 1]), [c.width, P * Q * Q * c.channels]);
  const tokens = linear({ weight, bias: p.encoder.patch_embed.proj.bias }, tf.reshape(patches, [B, grid[0] * grid[1] * grid[2], -1]));
  const moments = linear(p.encoder.last_layer, transform(p.encoder, tokens, grid, c));
  const [mean, logVariance] = tf.split(tf.reshape(moments, [B, ...grid, 2 * c.latentChannels]), 2, 4) as [Tensor, Tensor];
  return { mean, logVariance: tf.clipByValue(logVariance, -30, 20) };
}

/**
 * The mean latent of an image: [B, H, W, 3] in [-1, 1] -> [B, 1, h, w, C]. The image is encoded as a video of `repeat` equal frames, of which the
 * first latent frame is taken. `repeat` must be a multiple of the frames of a patch; the default 4 is that of the released model.
 */
export function encodeImage(p: VaeParams, x: Tensor, settings: VaeSettings, { repeat = 4 }: { repeat?: number } = {}): Tensor {
  const { B, H, W } = dims<'B' | 'H' | 'W'>(x, 'B H W C', 'encodeImage: x');
  checkNumber('encodeImage: repeat', repeat, { integer: true, min: 1 });
  const video = tf.tile(tf.reshape(x, [B, 1, H, W, -1]), [1, repeat, 1, 1, 1]);
  const { mean } = encodeVideo(p, video, settings);
  return tf.slice(mean, [0, 0, 0, 0, 0], [B, 1, ...mean.shape.slice(2)]);
}

/** Decodes latents [B, T, h, w, C], not scaled, into videos [B, F, H, W, 3]: near [-1, 1], not clipped. */
export function decodeVideo(p: VaeParams, latents: Tensor, settings: VaeSettings): Tensor {
  const c = parseConfig(vaeConfig, settings, 'decodeVideo');
  const { B, T, h, w } = dims<'B' | 'T' | 'h' | 'w'>(latents, 'B T h w C', 'decodeVideo: latents', { C: c.latentChannels });
  const tokens = linear(p.decoder.proj_in, tf.reshape(latents, [B, T * h * w, c.latentChannels]));
  const [P, Q] = [c.patchLength, c.patchSize];
  const channels = c.width / (P * Q * Q); // of a pixel before the last convolution
  const out = tf.reshape(transform(p.decoder, tokens, [T, h, w], c), [B * T, h, w, P, Q, Q * channels]);
  const placed = tf.reshape(tf.transpose(out, [0, 3, 1, 4, 2, 5]), [B, T * P, h * Q, w * Q, channels]); // [B·T, P, h, Q, w, Q·C']
  return convolve(p.decoder.last_layer, placed);
}

/** KL divergence from a standard normal, [B, w]: summed over frames, rows and channels, but not over columns, as in the official code. */
export function latentKl({ mean, logVariance }: LatentMoments): Tensor {
  const each = tf.sub(tf.add(tf.square(mean), tf.exp(logVariance)), tf.add(logVariance, 1));
  return tf.mul(tf.sum(each, [1, 2, 4]), 0.5);
}

/** The convolution 3 × 3 × 3 with zeros outside, weight [O, I, 3, 3, 3]: x [B, F, H, W, I] -> [B, F, H, W, O]. */
function convolve({ weight, bias }: LinearParams, x: Tensor): Tensor {
  const filter = tf.transpose(weight, [2, 3, 4, 1, 0]) as Parameters<typeof tf.conv3d>[1]; // [O, I, t, h, w] -> [t, h, w, I, O]
  return tf.add(tf.conv3d(x as Parameters<typeof tf.conv3d>[0], filter, 1, 'same'), bias);
}

/** The transformer: adds a class token and positions, applies blocks and norm, drops the class token. [B, T·h·w, D] -> the same shape. */
function transform(p: Half, tokens: Tensor, grid: readonly [number, number, number], c: VaeConfig): Tensor {
  const [B, n, D] = tokens.shape as [number, number, number];
  const start = tf.tile(p.cls_token, [B, 1, 1]);
  let x: Tensor = tf.add(tf.concat([start, tokens], 1), positions(p.pos_embed, grid, c));
  for (const block of p.blocks) x = encoderBlock(block, x, c.heads);
  const normed = layerNorm(x, { eps: EPS, ...p.norm });
  return tf.slice(normed, [0, 1, 0], [B, n, D]);
}

const EPS = 1e-5;

/** x + attention(x), without a norm before, and x + MLP(norm(x)). */
function encoderBlock(p: BlockParams, x: Tensor, heads: number): Tensor {
  const { q, k, v } = queriesKeysValues(p.attn, x, heads);
  const mixed = tf.add(x, linear(p.attn.proj, mergeHeads(attention(standardize(q), standardize(k), standardize(v)))));
  return tf.add(mixed, mlp(p.mlp, layerNorm(mixed, { eps: EPS, ...p.norm2 }), 'gelu-erf'));
}

/** (x - mean) / (standard deviation + 1e-5) over the channels of a head. Unlike in a layer norm, eps is outside the root. */
function standardize(x: Tensor): Tensor {
  const parts = (y: Tensor): { centred: Tensor; deviation: Tensor } => {
    const centred = tf.sub(y, tf.mean(y, -1, true));
    return { centred, deviation: tf.sqrt(tf.mean(tf.square(centred), -1, true)) };
  };
  return closedForm(
    x,
    (y) => {
      const { centred, deviation } = parts(y);
      return tf.div(centred, tf.add(deviation, EPS));
    },
    (dy, y) => {
      // With c = y - mean and s its deviation: (dy - mean(dy)) / (s + eps) - c·mean(c·dy) / (s·(s + eps)²).
      const { centred, deviation } = parts(y);
      const share = 1 / y.shape.at(-1)!;
      const wide = tf.add(deviation, EPS);
      const along = tf.mul(sumLast(tf.mul(centred, dy)), share);
      const rest = tf.div(tf.sub(dy, tf.mul(sumLast(dy), share)), wide);
      return tf.sub(rest, tf.mul(centred, tf.div(along, tf.mul(tf.maximum(deviation, 1e-30), tf.square(wide)))));
    },
  );
}

/** The position table [1, 1 + T·h·w, D], resampled linearly along every axis if the grid is not the native one. */
function positions(table: Tensor, grid: readonly [number, number, number], c: VaeConfig): Tensor {
  const [T, side] = nativeGrid(c);
  const native = [T, side, side] as const;
  if (grid.every((count, axis) => count === native[axis])) return table;
  const D = table.shape[2]!;
  let rest: Tensor = tf.reshape(tf.slice(table, [0, 1, 0], [1, T * side * side, D]), [...native, D]);
  grid.forEach((count, axis) => {
    const from = rest.shape[axis]!;
    const before = rest.shape.slice(0, axis).reduce((a, b) => a * b, 1);
    const flat = tf.reshape(rest, [before, from, -1]);
    const moved = tf.matMul(tf.tile(tf.expandDims(interpolation(from, count), 0), [before, 1, 1]), flat); // [before, count, from] · [before, from, rest]
    rest = tf.reshape(moved, [...rest.shape.slice(0, axis), count, ...rest.shape.slice(axis + 1)]);
  });
  return tf.concat([tf.slice(table, [0, 0, 0], [1, 1, D]), tf.reshape(rest, [1, -1, D])], 1);
}

/** The matrix [m, n] of linear interpolation from n places to m, as PyTorch's `F.interpolate` with `align_corners=False`. */
function interpolation(n: number, m: number): Tensor {
  const values = new Float32Array(m * n);
  for (let i = 0; i < m; i++) {
    const at = Math.max(0, ((i + 0.5) * n) / m - 0.5);
    const low = Math.min(n - 1, Math.floor(at));
    const high = Math.min(n - 1, low + 1);
    values[i * n + low]! += 1 - (at - low);
    values[i * n + high]! += at - low;
  }
  return tf.tensor2d(values, [m, n]);
}
