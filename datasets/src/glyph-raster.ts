import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Resvg } from '@resvg/resvg-js';

/** The faces of the DejaVu family that glyphs can be drawn in; the names are those of the font files. */
export const GLYPH_FACES = [
  'DejaVuSans',
  'DejaVuSans-Bold',
  'DejaVuSans-Oblique',
  'DejaVuSans-ExtraLight',
  'DejaVuSansCondensed-BoldOblique',
  'DejaVuSansMono',
  'DejaVuSansMono-BoldOblique',
  'DejaVuSerif',
  'DejaVuSerif-Bold',
  'DejaVuSerif-Italic',
  'DejaVuSerifCondensed',
  'DejaVuSerifCondensed-BoldItalic',
] as const;
export type GlyphFace = (typeof GLYPH_FACES)[number];

/** Coverage of one cell at one resolution, [side, side] flattened, 0 … 1. */
type Level = { side: number; coverage: Float32Array };

/**
 * One character in one face, as coverage at full resolution and successive halvings (levels[k] has side/2^k).
 *
 * `cx`, `cy` are the centre of the ink and `extent` its longer side, in pixels of level 0; the em is `em` pixels.
 */
export type GlyphRaster = { levels: readonly Level[]; em: number; cx: number; cy: number; extent: number };

/** Cells are 1.5 em wide and high with the baseline one em down: room for W in bold and for ascender and descender. */
const CELL_EMS = 1.5;
/** A sheet holds as many cells as fit in this many pixels (16 MB of RGBA). */
const SHEET_PIXELS = 2 ** 22;

/**
 * Draws every character once in one face, `em` pixels to the em (a multiple of 16).
 *
 * @throws Error if a character leaves no ink.
 */
export function rasterise(characters: readonly string[], face: GlyphFace, em: number): GlyphRaster[] {
  const side = CELL_EMS * em;
  const perSheet = Math.max(1, Math.floor(SHEET_PIXELS / (side * side)));
  const rasters: GlyphRaster[] = [];
  for (let first = 0; first < characters.length; first += perSheet) {
    const some = characters.slice(first, first + perSheet);
    const alpha = renderRow(some, face, em, side);
    some.forEach((character, cell) => {
      const coverage = new Float32Array(side * side);
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++) coverage[y * side + x] = alpha[4 * (y * side * some.length + cell * side + x) + 3]! / 255;
      }
      const ink = inkBox(coverage, side);
      if (ink === undefined) throw new Error(`glyphs: wanted characters that ${face} draws, got '${character}', which leaves no ink`);
      rasters.push({ levels: halvings({ side, coverage }), em, ...ink });
    });
  }
  return rasters;
}

/** Characters side by side, one a cell; RGBA rows of the sheet. */
function renderRow(characters: readonly string[], face: GlyphFace, em: number, side: number): Uint8Array {
  const texts = characters.map((c, i) => `<text x="${(i + 0.5) * side}" y="${em}" font-size="${em}" text-anchor="middle">${c}</text>`);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${side * characters.length}" height="${side}">${texts.join('')}</svg>`;
  // One font and no system fonts: what is drawn is the same on every machine.
  const font = { loadSystemFonts: false, fontFiles: [join(fontFolder(), `${face}.ttf`)], defaultFontFamily: 'DejaVu Sans' };
  return new Resvg(svg, { font, logLevel: 'off' }).render().pixels;
}

function fontFolder(): string {
  return join(dirname(createRequire(import.meta.url).resolve('dejavu-fonts-ttf/package.json')), 'ttf');
}

function inkBox(coverage: Float32Array, side: number): { cx: number; cy: number; extent: number } | undefined {
  let [left, right, top, bottom] = [side, -1, side, -1];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      if (coverage[y * side + x]! === 0) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  if (right < 0) return undefined;
  return { cx: (left + right + 1) / 2, cy: (top + bottom + 1) / 2, extent: Math.max(right - left, bottom - top) + 1 };
}

/** The level itself and its halvings by 2 × 2 means, while the side stays even. */
function halvings(level: Level): Level[] {
  const levels = [level];
  while (levels.at(-1)!.side % 2 === 0) {
    const { side, coverage } = levels.at(-1)!;
    const half = side / 2;
    const mean = new Float32Array(half * half);
    for (let y = 0; y < half; y++) {
      for (let x = 0; x < half; x++) {
        const i = 2 * y * side + 2 * x;
        mean[y * half + x] = (coverage[i]! + coverage[i + 1]! + coverage[i + side]! + coverage[i + side + 1]!) / 4;
      }
    }
    levels.push({ side: half, coverage: mean });
  }
  return levels;
}
