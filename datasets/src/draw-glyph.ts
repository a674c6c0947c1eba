import type { GlyphRaster } from './glyph-raster.ts';

/** Glyphs that would be longer than this part of the image are made smaller. */
const LONGEST = 0.9;
/** Each pixel is the mean of this many by this many points. */
const SUBPIXELS = 2;

/** Pixels to the em in which a glyph is rasterised for images of a side. */
export const emFor = (side: number): number => Math.max(64, 2 ** Math.ceil(Math.log2(2 * side)));

/** Pixels of the image for one of the raster, for an em of `ems` sides; less where the glyph would not fit. */
export const fittingScale = (raster: GlyphRaster, ems: number, side: number): number =>
  Math.min((ems * side) / raster.em, (LONGEST * side) / raster.extent);

/** Image = centre + (dx, dy) + Rotation(angle)·[[stretch, shear], [0, 1]]·scale·(raster - ink centre). */
export type GlyphPlacement = { scale: number; angle: number; shear: number; stretch: number; dx: number; dy: number };

/** Fills `out` [height, width] with the bytes of one glyph; each pixel averages points of the halving whose pixels are about as large. */
export function drawGlyph(
  raster: GlyphRaster,
  place: GlyphPlacement,
  out: Uint8Array,
  { height, width }: { height: number; width: number },
): void {
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

  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      let sum = 0;
      for (let k = 0; k < SUBPIXELS * SUBPIXELS; k++) {
        const x = column + ((k % SUBPIXELS) + 0.5) / SUBPIXELS - width / 2 - place.dx;
        const y = row + (Math.floor(k / SUBPIXELS) + 0.5) / SUBPIXELS - height / 2 - place.dy;
        sum += bilinear(coverage, side, cx + xx * x + xy * y - 0.5, cy + yx * x + yy * y - 0.5);
      }
      out[row * width + column] = Math.round((255 * sum) / (SUBPIXELS * SUBPIXELS));
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
