import { createRequire } from 'node:module';
import { Resvg, type ResvgRenderOptions } from '@resvg/resvg-js';
import { plainText } from '@atelier/tensor';
import type { Picture } from '../runner/experiment.ts';

/** The common style of all pictures: white background, dark text, thin grey lines, and few colours that differ in print and for most colour-blind people. */
export const style = {
  font: 'DejaVu Sans',
  paper: '#ffffff',
  ink: '#22262b',
  soft: '#6b7280',
  line: '#d9dce1',
  faint: '#eef0f3',
  series: ['#2b5c8a', '#c4622d', '#4f8a5b', '#8a5a9e', '#b3a13c', '#5aa0b8', '#9b4a4a', '#7a7f87', '#c77aa6'],
  title: 15,
  label: 12,
  small: 11,
  margin: 16,
} as const;

/** Drawn pixels for each pixel of layout, so that text stays sharp on dense screens. */
export const DENSITY = 2;

const require = createRequire(import.meta.url);
const fontFiles = ['DejaVuSans.ttf', 'DejaVuSans-Bold.ttf'].map((file) => require.resolve(`dejavu-fonts-ttf/ttf/${file}`));
const fonts: ResvgRenderOptions['font'] = { loadSystemFonts: false, fontFiles, defaultFontFamily: style.font, sansSerifFamily: style.font };

/** A whole SVG document around `body`. */
export function svgDocument(width: number, height: number, body: string): string {
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}" font-family="${style.font}, sans-serif">` +
    `<rect width="${width}" height="${height}" fill="${style.paper}"/>${body}</svg>`
  );
}

/** The SVG document as pixels, `DENSITY` to each pixel of layout. */
export function drawSvg(svg: string, width: number, height: number): Picture {
  const png = new Resvg(svg, { font: fonts, fitTo: { mode: 'zoom', value: DENSITY }, background: style.paper }).render().asPng();
  return { png: new Uint8Array(png), svg, width, height };
}

export interface TextOptions {
  readonly size?: number;
  readonly bold?: boolean;
  readonly anchor?: 'start' | 'middle' | 'end';
  readonly fill?: string;
  /** A rim in the colour of the paper, for text that lies over points. */
  readonly rim?: boolean;
}

/** A line of text whose baseline starts, is centred or ends at x, y. */
export function text(
  x: number,
  y: number,
  words: string,
  { size = style.label, bold = false, anchor = 'start', fill = style.ink, rim = false }: TextOptions = {},
): string {
  const weight = bold ? ' font-weight="bold"' : '';
  const halo = rim ? ` stroke="${style.paper}" stroke-width="4" stroke-linejoin="round" paint-order="stroke"` : '';
  return `<text x="${round(x)}" y="${round(y)}" font-size="${size}"${weight} text-anchor="${anchor}" fill="${fill}"${halo}>${escapeXml(words)}</text>`;
}

const widths = new Map<string, number>();

/** Width of a line of text as it will be drawn. */
export function textWidth(words: string, size: number, bold = false): number {
  const key = `${size} ${bold} ${words}`;
  let width = widths.get(key);
  if (width === undefined) {
    const svg = svgDocument(10, 10, '').replace(/<rect[^>]*>/, text(0, 0, words, { size, bold }));
    width = words.trim() === '' ? 0 : (new Resvg(svg, { font: fonts }).getBBox()?.width ?? 0);
    widths.set(key, width);
  }
  return width;
}

/** A text from outside inside of HTML or SVG: no element, no character that turns the direction of writing or that XML forbids. A line break is a blank. */
export function escapeXml(words: string): string {
  return plainText(words.replace(/\s*\n\s*/g, ' '))
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/"/g, '&quot;');
}

export const round = (value: number): number => Math.round(100 * value) / 100;
