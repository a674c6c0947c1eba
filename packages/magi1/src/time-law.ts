import { checkNumber, parseConfig, type Rng } from '@atelier/tensor';
import { z } from 'zod';
import { warpTime } from './time-schedule.ts';

/**
 * The density of one time (Eq. 5, arXiv 2505.13211): u = sigmoid(mean + deviation·n), n normal, then t = w·u / (1 - (1 - w)·u). A share of the draws
 * is uniform instead.
 */
const density = {
  mean: z.number().default(0),
  deviation: z.number().positive().default(0.5),
  /** w; 1/3 puts 69 % of the draws below t = 0.3. */
  shift: z
    .number()
    .positive()
    .default(1 / 3),
  /**
   * Share of the draws that are uniform in [0, 1). The published density has almost no draws below 0.05 and above 0.7, where nearly half of the
   * sampler's steps are.
   */
  uniformShare: z.number().min(0).max(1).default(0),
};

/** How the times of the chunks of a clip are drawn together. The paper publishes the density, but not this. */
export const timeLaw = z.discriminatedUnion('kind', [
  /** Independent draws of the density, sorted: earlier chunks are cleaner. */
  z.strictObject({ kind: z.literal('sorted'), ...density }),
  /** Independent draws of the density, not sorted (diffusion forcing). */
  z.strictObject({ kind: z.literal('independent'), ...density }),
  /** φ (`warpTime`) of independent uniform draws, not sorted: the density of the sampler's steps. */
  z.strictObject({ kind: z.literal('warped') }),
  /**
   * As in sampling. Chunk f + a with a = 0 … window - 1 has the time φ((window - 1 - a + r)/window); f is a random chunk, and r is uniform in [0, 1).
   * Chunks before f are clean; chunks after the window are pure noise (t = 0) without a loss.
   */
  z.strictObject({ kind: z.literal('window'), window: z.int().min(1).default(4) }),
  /** One draw for the whole clip (bidirectional diffusion). */
  z.strictObject({ kind: z.literal('shared'), ...density }),
]);
export type TimeLaw = z.output<typeof timeLaw>;
export type TimeLawSettings = z.input<typeof timeLaw>;

/** Times of clips, each a flat [B, M]. */
export type ChunkTimes = {
  t: Float32Array;
  /** 1 for chunks that are context: t in [0.95, 1). */
  clean: Float32Array;
  /** 1 for chunks with a loss. */
  counted: Float32Array;
};

/** Lowest time of a clean chunk: the paper adds "up to 5 % noise" to it. */
const CLEAN_FROM = 0.95;

/**
 * Draws times for `clips` clips of `chunks` chunks.
 *
 * @param options.cleanProbability how often a clip begins with clean chunks. Their number is then uniform in 1 … chunks - 1. Not used by the law
 * `window`, which draws
 *   their number itself
 */
export function drawChunkTimes(
  rng: Rng,
  { clips, chunks, cleanProbability = 0.5 }: { clips: number; chunks: number; cleanProbability?: number },
  settings: TimeLawSettings,
): ChunkTimes {
  const law = parseConfig(timeLaw, settings, 'drawChunkTimes');
  checkNumber('drawChunkTimes: clips', clips, { integer: true, min: 1 });
  checkNumber('drawChunkTimes: chunks', chunks, { integer: true, min: 1 });
  checkNumber('drawChunkTimes: cleanProbability', cleanProbability, { min: 0, max: 1 });
  const size = clips * chunks;
  const out: ChunkTimes = { t: new Float32Array(size), clean: new Float32Array(size), counted: new Float32Array(size).fill(1) };
  const [begins, lows] = [rng.child('begin').uniforms(2 * clips), rng.child('clean').uniforms(size)];
  const draws = drawsOf(rng, size, law);
  for (let row = 0; row < clips; row++) {
    const span = out.t.subarray(row * chunks, (row + 1) * chunks);
    span.set(draws.subarray(row * chunks, (row + 1) * chunks));
    let cleanCount = 0;
    if (law.kind === 'window') {
      cleanCount = Math.floor(begins[2 * row]! * chunks);
      const r = begins[2 * row + 1]!;
      for (let a = 0; a < chunks - cleanCount; a++)
        span[cleanCount + a] = a < law.window ? warpTime((law.window - 1 - a + r) / law.window) : 0;
      out.counted.fill(0, row * chunks + Math.min(chunks, cleanCount + law.window), (row + 1) * chunks);
    } else {
      if (begins[2 * row]! < cleanProbability && chunks > 1) cleanCount = 1 + Math.floor(begins[2 * row + 1]! * (chunks - 1));
      if (law.kind === 'sorted') span.sort((a, b) => b - a);
      if (law.kind === 'shared') span.fill(span[0]!);
    }
    for (let j = 0; j < cleanCount; j++) {
      const at = row * chunks + j;
      out.t[at] = CLEAN_FROM + (1 - CLEAN_FROM) * lows[at]!;
      out.clean[at] = 1;
      out.counted[at] = 0;
    }
  }
  return out;
}

/** Independent draws of a law's density; zeros for `window`, whose times are set later. */
function drawsOf(rng: Rng, size: number, law: TimeLaw): Float32Array {
  const uniforms = rng.child('uniform').uniforms(size);
  if (law.kind === 'window') return new Float32Array(size);
  if (law.kind === 'warped') return uniforms.map((u) => warpTime(u));
  const [normals, which] = [rng.child('normal').normals(size), rng.child('which').uniforms(size)];
  return normals.map((n, i) => {
    if (which[i]! < law.uniformShare) return uniforms[i]!;
    const u = 1 / (1 + Math.exp(-(law.mean + law.deviation * n)));
    return (law.shift * u) / (1 - (1 - law.shift) * u);
  });
}
