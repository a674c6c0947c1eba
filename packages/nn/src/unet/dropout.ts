import { dims, type Rng, type Tensor, tf } from '@atelier/tensor';
import type { SongUNetConfig } from './config.ts';
import { songUNetLayout } from './layout.ts';

/** For each block by its name what its activations are multiplied by, [B, h, w, C]: 0 with the probability of the dropout p, 1/(1 - p) otherwise. */
export type DropoutFactors = Readonly<Record<string, Tensor>>;

/**
 * Draws the factors of one pass for images [B, H, W]; give the same ones to every pass that is to drop the same. Each block has a stream of its own. None for a
 * dropout of 0.
 */
export function drawDropout(rng: Rng, config: SongUNetConfig, [B, H, W]: readonly [number, number, number]): DropoutFactors {
  if (config.dropout === 0) return {};
  const { encoder, decoder } = songUNetLayout(config);
  const kept = Math.fround(1 / (1 - config.dropout));
  return Object.fromEntries(
    [...encoder, ...decoder].map(({ name, outputs, level }) => {
      const shape = [B, H / 2 ** level, W / 2 ** level, outputs];
      const uniforms = rng.child(name).uniforms(shape.reduce((a, b) => a * b, 1));
      return [name, tf.tensor(uniforms.map((u) => (u < config.dropout ? 0 : kept)), shape)]; // prettier-ignore
    }),
  );
}

/** The factors of one block, or null where nothing is dropped. */
export function dropoutOf(factors: DropoutFactors, name: string, like: Tensor, rate: number): Tensor | null {
  if (rate === 0) return null;
  const own = factors[name];
  if (own === undefined) throw new Error(`songUNet: dropout: wanted factors for '${name}', got only ${Object.keys(factors).length} others`);
  const [B, h, w, C] = like.shape as [number, number, number, number];
  dims(own, 'B h w C', `songUNet: dropout: ${name}`, { B, h, w, C });
  return own;
}
