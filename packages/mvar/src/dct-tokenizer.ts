import { checkNumber, dims, tf, type Rng, type Tensor } from '@atelier/tensor';
import { scalesOf } from './ladder.ts';
import { quantize, type QuantizerConfig, type QuantizerParams } from './quantizer.ts';
import { areaResample } from './resample.ts';

/** A tokenizer without a trained network: latents are cosine (DCT) coefficients of square blocks, scaled to a standard deviation of about 1. */
export type DctSettings = {
  /** Side of a block in pixels. */
  block: number;
  /** How many coefficients of each channel of a block are kept, lowest frequencies first, in zigzag order. */
  coefficients: number;
  /** Coefficients are divided by this, their standard deviation. */
  deviation: number;
};

/**
 * The orthonormal basis [coefficients, block²] in zigzag order, as in JPEG: by rising sum of both frequencies, in alternating direction along the
 * diagonals.
 */
function basis({ block: S, coefficients }: DctSettings): Float32Array {
  const order = Array.from({ length: S * S }, (_, i) => [Math.floor(i / S), i % S] as const).sort(([a, b], [c, d]) => {
    const sum = a + b - (c + d);
    return sum !== 0 ? sum : (a + b) % 2 === 0 ? c - a : a - c;
  });
  const wave = (u: number, i: number): number => Math.sqrt((u === 0 ? 1 : 2) / S) * Math.cos(((i + 0.5) * u * Math.PI) / S);
  const out = new Float32Array(coefficients * S * S);
  order.slice(0, coefficients).forEach(([u, v], k) => {
    for (let i = 0; i < S; i++) for (let j = 0; j < S; j++) out[(k * S + i) * S + j] = wave(u, i) * wave(v, j);
  });
  return out;
}

function checkDct(settings: DctSettings, where: string): void {
  checkNumber(`${where}: block`, settings.block, { integer: true, min: 1 });
  checkNumber(`${where}: coefficients`, settings.coefficients, { integer: true, min: 1, max: settings.block ** 2 });
  checkNumber(`${where}: deviation`, settings.deviation, { above: 0 });
}

/** Images [B, H, W, C] -> latents [B, H/S, W/S, coefficients·C], S the side of a block. The coefficients of a channel are next to each other. */
export function dctLatents(images: Tensor, settings: DctSettings): Tensor {
  checkDct(settings, 'dctLatents');
  const { block: S, coefficients: n, deviation } = settings;
  const { B, H, W, C } = dims<'B' | 'H' | 'W' | 'C'>(images, 'B H W C', 'dctLatents: images');
  for (const [side, size] of Object.entries({ H, W }))
    if (size % S !== 0) throw new Error(`dctLatents: images: wanted ${side} a multiple of the block's side ${S}, got ${size}`);
  return tf.tidy(() => {
    const cut = tf.reshape(images, [B, H / S, S, W / S, S, C]);
    const blocks = tf.reshape(tf.transpose(cut, [0, 1, 3, 5, 2, 4]), [-1, S * S]); // -> [B·h·w·C, S²]
    const found = tf.matMul(blocks, tf.tensor2d(basis(settings), [n, S * S]), false, true);
    return tf.div(tf.reshape(found, [B, H / S, W / S, C * n]), deviation);
  });
}

/** The inverse: latents [B, h, w, coefficients·C] -> images [B, S·h, S·w, C]. Coefficients that were not kept count as 0. */
export function dctImages(latents: Tensor, settings: DctSettings): Tensor {
  checkDct(settings, 'dctImages');
  const { block: S, coefficients: n, deviation } = settings;
  const { B, h, w, c } = dims<'B' | 'h' | 'w' | 'c'>(latents, 'B h w c', 'dctImages: latents');
  if (c % n !== 0) throw new Error(`dctImages: latents: wanted a multiple of ${n} channels, got ${c}`);
  return tf.tidy(() => {
    const blocks = tf.matMul(tf.reshape(tf.mul(latents, deviation), [-1, n]), tf.tensor2d(basis(settings), [n, S * S]));
    const turned = tf.transpose(tf.reshape(blocks, [B, h, w, c / n, S, S]), [0, 1, 4, 2, 5, 3]); // -> [B, h, S, w, S, C]
    return tf.reshape(turned, [B, h * S, w * S, c / n]);
  });
}

export type CodebookOptions = {
  /** Rounds. Each quantizes the latents with the codebook so far, and improves it on the residuals; 10 if not given. */
  rounds?: number;
  /** How many residual vectors a round draws; 12,000 if not given. */
  drawn?: number;
  /** Steps of k-means in a round; 3 if not given. */
  steps?: number;
};

/** A code that is nearest to fewer vectors than this is moved to one of the vectors. */
const FEWEST = 3;

/**
 * A codebook [V, c] for latents [B, H, H, c], by k-means on the residuals of all scales. Code 0 is the zero vector and stays so: without it, the residual can
 * grow from scale to scale. Φ must be the identity (ratio 0).
 */
export function fitCodebook(
  latents: Tensor,
  settings: QuantizerConfig,
  rng: Rng,
  { rounds = 10, drawn = 12_000, steps = 3 }: CodebookOptions = {},
): QuantizerParams {
  const where = 'fitCodebook';
  for (const [name, value] of Object.entries({ rounds, drawn, steps })) checkNumber(`${where}: ${name}`, value, { integer: true, min: 1 });
  if (settings.ratio !== 0) throw new Error(`${where}: ratio: wanted 0, for Φ is not trained here, got ${settings.ratio}`);
  const { codes: V, channels: c } = settings;
  let book = new Float32Array(V * c);
  for (let round = 0; round < rounds; round++) {
    const own = rng.child(round);
    const left = residuals({ embedding: { weight: tf.tensor2d(book, [V, c]) } }, latents, settings);
    const vectors = drawByNorm(own, left, drawn, c);
    if (round === 0) book = startingCodes(vectors, V, c);
    for (let step = 0; step < steps; step++) book = kMeansStep(own.child(step), vectors, book, c);
  }
  return { embedding: { weight: tf.tensor2d(book, [V, c]) } };
}

/** The residual vectors that the scales have to quantize: [n, c] of all images and scales, flat. Disposes the codebook. */
function residuals(p: QuantizerParams, f: Tensor, settings: QuantizerConfig): Float32Array {
  const vectors = tf.tidy(() => {
    const { reconstructions } = quantize(p, f, settings);
    const parts = scalesOf(settings.ladder).map(({ side }, l) => {
      const rest = l === 0 ? f : tf.sub(f, reconstructions[l - 1]!);
      return tf.reshape(areaResample(rest, side), [-1, settings.channels]);
    });
    return tf.concat(parts, 0);
  });
  const data = Float32Array.from(vectors.dataSync());
  tf.dispose([vectors, p.embedding.weight]);
  return data;
}

/** Draws `count` of the vectors, with probabilities in proportion to their lengths: long residuals matter most, and many are near 0. */
function drawByNorm(rng: Rng, vectors: Float32Array, count: number, c: number): Float32Array {
  const n = vectors.length / c;
  const sums = new Float64Array(n);
  let total = 0;
  for (let i = 0; i < n; i++) {
    let square = 0;
    for (let k = 0; k < c; k++) square += vectors[i * c + k]! ** 2;
    sums[i] = total += Math.sqrt(square);
  }
  const out = new Float32Array(count * c);
  rng.uniforms(count).forEach((u, m) => {
    let [low, high] = [0, n - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle]! <= u * total) low = middle + 1;
      else high = middle;
    }
    out.set(vectors.subarray(low * c, (low + 1) * c), m * c);
  });
  return out;
}

/** The first codebook: the zero vector, then the first vectors drawn. */
function startingCodes(vectors: Float32Array, V: number, c: number): Float32Array<ArrayBuffer> {
  const book = new Float32Array(V * c);
  book.set(vectors.subarray(0, (V - 1) * c), c);
  return book;
}

/** Moves every code except the zero vector to the mean of the vectors nearest to it, or to one random vector if they are too few. */
function kMeansStep(rng: Rng, vectors: Float32Array, book: Float32Array, c: number): Float32Array<ArrayBuffer> {
  const [n, V] = [vectors.length / c, book.length / c];
  const sums = new Float64Array(V * c);
  const hits = new Int32Array(V);
  for (let i = 0; i < n; i++) {
    let [best, least] = [0, Infinity];
    for (let v = 0; v < V; v++) {
      let distance = 0;
      for (let k = 0; k < c; k++) distance += (vectors[i * c + k]! - book[v * c + k]!) ** 2;
      if (distance < least) [best, least] = [v, distance];
    }
    hits[best]!++;
    for (let k = 0; k < c; k++) sums[best * c + k]! += vectors[i * c + k]!;
  }
  const fresh = rng.integers(V, 0, n);
  const out = new Float32Array(V * c);
  for (let v = 1; v < V; v++)
    for (let k = 0; k < c; k++) out[v * c + k] = hits[v]! < FEWEST ? vectors[fresh[v]! * c + k]! : sums[v * c + k]! / hits[v]!;
  return out;
}
