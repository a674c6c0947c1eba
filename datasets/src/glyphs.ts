import type { Rng } from '@atelier/tensor';
import { z } from 'zod';
import { GLYPH_FACES, rasterise, type GlyphRaster } from './glyph-raster.ts';
import { imageSet, type ImageSet } from './image-set.ts';

/** Settings of `glyphs`, for configurations that hold them. */
export const glyphOptions = z.strictObject({
  /** Side of the square images in pixels. */
  size: z.number().int().min(4).max(512).default(28),
  /** One class a character, in this order: letters and digits, each once. */
  characters: z
    .string()
    .regex(/^[A-Za-z0-9]+$/, 'wanted letters A-Z, a-z and digits only')
    .refine((text) => new Set(text).size === text.length, 'wanted each character once')
    .default('0123456789'),
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
/** Glyphs that would be longer than this part of the image are made smaller. */
const LONGEST = 0.9;
/** Each pixel is the mean of this many by this many points. */
const SUBPIXELS = 2;

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
  if (!Number.isInteger(count) || count < 1) throw new Error(`glyphs: wanted a count that is a whole number of at least 1, got ${count}`);
  const parsed = glyphOptions.safeParse(options);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw new Error(`glyphs: wanted valid options, got '${path.join('.')}': ${message}`);
  }
  const { size, faces, rotation, shear, scale, stretch, shift } = parsed.data;
  const characters = [...parsed.data.characters];
  const em = Math.max(64, 2 ** Math.ceil(Math.log2(2 * size)));
  const rasters = faces.map((face) => rasterise(characters, face, em));

  const uniform = rng.uniforms(DRAWS * count);
  const pixels = new Uint8Array(count * size * size);
  const labels = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const u = (k: number): number => uniform[DRAWS * i + k]!;
    const about = (k: number, spread: number): number => spread * (2 * u(k) - 1);
    labels[i] = Math.floor(u(0) * characters.length);
    const raster = rasters[Math.floor(u(1) * faces.length)]![labels[i]!]!;
    const asked = ((scale[0] + (scale[1] - scale[0]) * u(2)) * size) / raster.em;
    const placement: Placement = {
      scale: Math.min(asked, (LONGEST * size) / raster.extent),
      angle: (about(3, rotation) * Math.PI) / 180,
      shear: about(4, shear),
      stretch: 1 + about(5, stretch),
      dx: about(6, shift) * size,
      dy: about(7, shift) * size,
    };
    draw(raster, placement, pixels.subarray(i * size * size, (i + 1) * size * size), size);
  }
  const set = { name: 'glyphs', pixels, labels, count, height: size, width: size, channels: 1 };
  return imageSet({ ...set, classes: characters.length, classNames: characters });
}

/** Image = centre + (dx, dy) + Rotation(angle)·[[stretch, shear], [0, 1]]·scale·(raster - ink centre). */
type Placement = { scale: number; angle: number; shear: number; stretch: number; dx: number; dy: number };

/** Fills `out` [size, size] with the bytes of one glyph; each pixel averages points of the halving whose pixels are about as large. */
function draw(raster: GlyphRaster, place: Placement, out: Uint8Array, size: number): void {
  // At a reduction by 2^k, level k has one to two pixels for one of the image.
  const depth = Math.min(raster.levels.length - 1, Math.max(0, Math.floor(Math.log2(1 / place.scale))));
  const { side, coverage } = raster.levels[depth]!;
  const perLevel = 2 ** depth;
  // The inverse map, image -> pixels of the level: shear and stretch undone after the rotation.
  const [cos, sin] = [Math.cos(place.angle), Math.sin(place.angle)];
  const zoom = 1 / (place.scale * perLevel);
  const yx = -sin * zoom;
  const yy = cos * zoom;
  const xx = (cos * zoom - place.shear * yx) / place.stretch;
  const xy = (sin * zoom - place.shear * yy) / place.stretch;
  const [cx, cy] = [raster.cx / perLevel, raster.cy / perLevel];

  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      let sum = 0;
      for (let k = 0; k < SUBPIXELS * SUBPIXELS; k++) {
        const x = column + ((k % SUBPIXELS) + 0.5) / SUBPIXELS - size / 2 - place.dx;
        const y = row + (Math.floor(k / SUBPIXELS) + 0.5) / SUBPIXELS - size / 2 - place.dy;
        sum += bilinear(coverage, side, cx + xx * x + xy * y - 0.5, cy + yx * x + yy * y - 0.5);
      }
      out[row * size + column] = Math.round((255 * sum) / (SUBPIXELS * SUBPIXELS));
    }
  }
}

/** Coverage between pixel centres; 0 outside the cell, whose border carries no ink. */
function bilinear(coverage: Float32Array, side: number, x: number, y: number): number {
  const [x0, y0] = [Math.floor(x), Math.floor(y)];
  if (x0 < 0 || y0 < 0 || x0 >= side - 1 || y0 >= side - 1) return 0;
  const [fx, fy] = [x - x0, y - y0];
  const i = y0 * side + x0;
  const upper = coverage[i]! + fx * (coverage[i + 1]! - coverage[i]!);
  const lower = coverage[i + side]! + fx * (coverage[i + side + 1]! - coverage[i + side]!);
  return upper + fy * (lower - upper);
}
