import { checkNumber, parseConfig, type Rng } from '@atelier/tensor';
import { z } from 'zod';
import { drawGlyph, emFor, fittingScale } from './draw-glyph.ts';
import { GLYPH_FACES, rasterise } from './glyph-raster.ts';
import { imageSet, type ImageSet } from './image-set.ts';

/** Which characters are drawn, each once. */
export const glyphCharacters = z
  .string()
  .regex(/^[A-Za-z0-9]+$/, 'wanted letters A-Z, a-z and digits only')
  .refine((text) => new Set(text).size === text.length, 'wanted each character once')
  .default('0123456789');

/** Settings of `glyphs`, for configurations that hold them. */
export const glyphOptions = z.strictObject({
  /** Side of the square images in pixels. */
  size: z.number().int().min(4).max(512).default(28),
  /** One class a character, in this order: letters and digits, each once. */
  characters: glyphCharacters,
  faces: z
    .array(z.enum(GLYPH_FACES))
    .min(1)
    .default([...GLYPH_FACES]),
  /** Rotation ~ U(-rotation, rotation), in degrees. */
  rotation: z.number().min(0).max(180).default(12),
  /** Horizontal shear ~ U(-shear, shear), in widths a height. */
  shear: z.number().min(0).max(1).default(0.15),
  /** Height of the em over the side of the image ~ U(scale[0], scale[1]). */
  scale: z
    .tuple([z.number().min(0.1), z.number().max(2)])
    .refine(([low, high]) => low <= high, 'wanted scale[0] <= scale[1]')
    .default([0.75, 1]),
  /** Width over height, relative to the font, ~ U(1 - stretch, 1 + stretch). */
  stretch: z.number().min(0).max(0.5).default(0.1),
  /** Offset of the ink's centre from the image's centre ~ U(-shift, shift)², in sides of the image. */
  shift: z.number().min(0).max(0.5).default(0.06),
});
export type GlyphOptions = z.input<typeof glyphOptions>;

const DRAWS = 8;

/**
 * `count` grey images of letters or digits (ink +1 on paper -1), each one character in one face of DejaVu under a random affine map: a data set
 * like MNIST that needs no download.
 *
 * Class, face and map are uniform and independent. Eight uniforms an image are drawn from `rng`, so the first images do not depend on how many
 * are asked for. Each (character, face) is rasterised once; the maps are applied on the host.
 *
 * @throws Error if the count or an option is out of range.
 */
export function glyphs(rng: Rng, count: number, options: GlyphOptions = {}): ImageSet {
  checkNumber('glyphs: count', count, { integer: true, min: 1 });
  const parsed = parseConfig(glyphOptions, options, 'glyphs');
  const { size, faces, rotation, shear, scale, stretch, shift } = parsed;
  const characters = [...parsed.characters];
  const rasters = faces.map((face) => rasterise(characters, face, emFor(size)));

  const uniform = rng.uniforms(DRAWS * count);
  const pixels = new Uint8Array(count * size * size);
  const labels = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const u = (k: number): number => uniform[DRAWS * i + k]!;
    const about = (k: number, spread: number): number => spread * (2 * u(k) - 1);
    labels[i] = Math.floor(u(0) * characters.length);
    const raster = rasters[Math.floor(u(1) * faces.length)]![labels[i]!]!;
    const placement = {
      scale: fittingScale(raster, scale[0] + (scale[1] - scale[0]) * u(2), size),
      angle: (about(3, rotation) * Math.PI) / 180,
      shear: about(4, shear),
      stretch: 1 + about(5, stretch),
      dx: about(6, shift) * size,
      dy: about(7, shift) * size,
    };
    drawGlyph(raster, placement, pixels.subarray(i * size * size, (i + 1) * size * size), { height: size, width: size });
  }
  const set = { name: 'glyphs', pixels, labels, count, height: size, width: size, channels: 1 };
  return imageSet({ ...set, classes: characters.length, classNames: characters });
}
