import { checkNumber, parseConfig, type Rng } from '@atelier/tensor';
import { z } from 'zod';
import { drawGlyph, emFor, fittingScale } from './draw-glyph.ts';
import { GLYPH_FACES, rasterise } from './glyph-raster.ts';
import { glyphCharacters } from './glyphs.ts';
import { imageSet, type VideoSet } from './image-set.ts';

const range = (low: number, high: number): z.ZodType<[number, number]> =>
  z.tuple([z.number().min(low), z.number().max(high)]).refine(([from, to]) => from <= to, 'wanted the smaller number first');

/** Settings of `movingGlyphs`, for configurations that hold them. */
export const movingGlyphOptions = z.strictObject({
  /** F, H and W of a video. */
  frames: z.number().int().min(1).max(4096).default(8),
  height: z.number().int().min(4).max(512).default(32),
  width: z.number().int().min(4).max(512).default(32),
  /** One class a character, in this order: letters and digits, each once. */
  characters: glyphCharacters,
  faces: z.array(z.enum(GLYPH_FACES)).min(1).default(['DejaVuSans-Bold']),
  /** Height of the em over the shorter side of the image ~ U(scale[0], scale[1]). */
  scale: range(0.1, 2).default([0.5, 0.7]),
  /** Way from one frame to the next ~ U(speed[0], speed[1]), in shorter sides of the image. */
  speed: range(0, 0.5).default([0.03, 0.1]),
  /** Turn from one frame to the next ~ U(-spin, spin), in degrees. */
  spin: z.number().min(0).max(180).default(0),
  /** Rotation in the first frame ~ U(-rotation, rotation), in degrees. */
  rotation: z.number().min(0).max(180).default(12),
});
export type MovingGlyphOptions = z.input<typeof movingGlyphOptions>;

/** Draws a video takes: class, face, scale, place of the first frame (2), direction, speed, rotation, spin. */
const DRAWS = 9;

/**
 * `count` grey videos [F, H, W, 1] of one letter or digit each (ink +1 on paper -1), which moves in a straight line and is reflected at the borders:
 * a video set that needs no download. The class is the character.
 *
 * Class, face, size, first place, direction and speed are uniform and independent. Nine uniforms a video are drawn from `rng`: the first videos do not
 * depend on how many are asked for, and the first frames of a video do not depend on how many follow.
 *
 * @throws Error if the count or an option is out of range
 */
export function movingGlyphs(rng: Rng, count: number, options: MovingGlyphOptions = {}): VideoSet {
  checkNumber('movingGlyphs: count', count, { integer: true, min: 1 });
  const { frames, height, width, characters, faces, scale, speed, spin, rotation } = parseConfig(
    movingGlyphOptions,
    options,
    'movingGlyphs',
  );
  const side = Math.min(height, width);
  const rasters = faces.map((face) => rasterise([...characters], face, emFor(side)));
  const size = height * width;
  const draws = rng.uniforms(DRAWS * count);
  const pixels = new Uint8Array(count * frames * size);
  const labels = new Int32Array(count);
  for (let n = 0; n < count; n++) {
    const u = draws.subarray(DRAWS * n, DRAWS * (n + 1));
    const between = (at: number, [low, high]: readonly [number, number]): number => low + (high - low) * u[at]!;
    labels[n] = Math.floor(u[0]! * characters.length);
    const raster = rasters[Math.floor(u[1]! * faces.length)]![labels[n]!]!;
    const zoom = fittingScale(raster, between(2, scale), side);
    // The centre of the ink stays half a glyph away from the borders.
    const room = [width, height].map((whole) => Math.max(0, whole - zoom * raster.extent)) as [number, number];
    const direction = 2 * Math.PI * u[5]!;
    const step = between(6, speed) * side;
    const [angle, turn] = [between(7, [-rotation, rotation]), between(8, [-spin, spin])];
    for (let f = 0; f < frames; f++) {
      const placement = {
        scale: zoom,
        angle: ((angle + f * turn) * Math.PI) / 180,
        shear: 0,
        stretch: 1,
        dx: reflect(u[3]! * room[0] + f * step * Math.cos(direction), room[0]) - room[0] / 2,
        dy: reflect(u[4]! * room[1] + f * step * Math.sin(direction), room[1]) - room[1] / 2,
      };
      const at = (n * frames + f) * size;
      drawGlyph(raster, placement, pixels.subarray(at, at + size), { height, width });
    }
  }
  const classNames = [...characters];
  return imageSet({
    name: 'moving glyphs',
    pixels,
    labels,
    count,
    frames,
    height,
    width,
    channels: 1,
    classes: classNames.length,
    classNames,
  });
}

/** A place on a straight line, folded into [0, room] as by mirrors at both ends. */
function reflect(place: number, room: number): number {
  if (room === 0) return 0;
  const period = 2 * room;
  const within = ((place % period) + period) % period;
  return within <= room ? within : period - within;
}
