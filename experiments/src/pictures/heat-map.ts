import { encode } from 'fast-png';
import type { Picture } from '../runner/experiment.ts';
import { drawSvg, round, style, svgDocument, text, textWidth } from './style.ts';

export interface HeatMapPanel {
  readonly title: string;
  /** A second, quiet line below the title. */
  readonly note?: string;
  /** [rows, columns] in row-major order; the first row is drawn on top. */
  readonly values: ArrayLike<number>;
  readonly rows: number;
  readonly columns: number;
}

export interface HeatMapOptions {
  readonly title?: string;
  /** What the columns and the rows count. */
  readonly x: string;
  readonly y: string;
  /** What the colours mean. */
  readonly scale: string;
  /** Ends of the colours, which run over powers of ten; what is below or above is drawn like the end. */
  readonly range: readonly [number, number];
  /** Number that the first column and the first row have. */
  readonly first?: readonly [x: number, y: number];
  /** Panels in a row; all of them up to 4 by default. */
  readonly columns?: number;
}

const [WIDTH, HEIGHT, GAP, LEFT, BELOW, HEAD] = [250, 170, 26, 40, 40, 38];
const BAR = { width: 12, gap: 30, labels: 44 };
/** From the least to the greatest. */
const RAMP = ['#f6f4ee', '#cfdfe3', '#8fbdcb', '#4f8fb0', '#2b5c8a', '#1c2f55'] as const;

/**
 * Tables of positive numbers as colours on a common logarithmic scale, side by side.
 *
 * @throws Error for no panel, a wrong number of values, a value that is not a number, or a range without two positive ends
 */
export function heatMap(panels: readonly HeatMapPanel[], options: HeatMapOptions): Picture {
  if (panels.length === 0) throw new Error('heatMap: wanted at least one panel, got none');
  const { title, range, first = [0, 0], columns = Math.min(4, panels.length) } = options;
  const [low, high] = range;
  if (!(low > 0 && high > low)) throw new Error(`heatMap: range: wanted 0 < low < high, got [${low}, ${high}]`);
  for (const { title: name, values, rows, columns: wide } of panels) {
    if (rows < 1 || wide < 1 || values.length !== rows * wide)
      throw new Error(`heatMap: '${name}': wanted ${rows} x ${wide} values, got ${values.length}`);
    const bad = Array.from(values).findIndex((value) => Number.isNaN(value));
    if (bad >= 0) throw new Error(`heatMap: '${name}': wanted numbers, got NaN at position ${bad}`);
  }
  const { margin } = style;
  const top = margin + (title ? 28 : 0);
  const lines = Math.ceil(panels.length / columns);
  const inner = columns * (LEFT + WIDTH) + (columns - 1) * GAP;
  const width = Math.ceil(
    Math.max(2 * margin + inner + BAR.gap + BAR.width + BAR.labels, title ? 2 * margin + textWidth(title, style.title, true) : 0),
  );
  const height = top + lines * (HEAD + HEIGHT + BELOW) + margin;
  const body = [
    title ? text(margin, margin + 12, title, { size: style.title, bold: true }) : '',
    ...panels.map((panel, i) => {
      const x = margin + LEFT + (i % columns) * (WIDTH + GAP + LEFT);
      const y = top + Math.floor(i / columns) * (HEAD + HEIGHT + BELOW);
      return drawPanel(panel, x, y, options, first);
    }),
    colourBar(margin + inner + BAR.gap, top + HEAD, options),
  ];
  const { png } = drawSvg(svgDocument(width, height, body.join('')), width, height);
  return { png, width, height };
}

function drawPanel(
  { title, note, values, rows, columns }: HeatMapPanel,
  x: number,
  y: number,
  options: HeatMapOptions,
  first: readonly [number, number],
): string {
  const pixels = new Uint8Array(3 * rows * columns);
  for (let i = 0; i < values.length; i++) pixels.set(colourOf(values[i]!, options.range), 3 * i);
  const image = Buffer.from(encode({ width: columns, height: rows, data: pixels, channels: 3, depth: 8 })).toString('base64');
  const cells = y + HEAD;
  const ticks = (count: number, from: number): number[] =>
    [...new Set([0, (count - 1) / 2, count - 1].map(Math.round))].map((at) => at + from);
  return [
    text(x, y + 12, title, { bold: true }),
    note === undefined ? '' : text(x, y + 28, note, { size: style.small, fill: style.soft }),
    `<image x="${x}" y="${cells}" width="${WIDTH}" height="${HEIGHT}" preserveAspectRatio="none" image-rendering="optimizeSpeed" xlink:href="data:image/png;base64,${image}"/>`,
    `<rect x="${x}" y="${cells}" width="${WIDTH}" height="${HEIGHT}" fill="none" stroke="${style.line}"/>`,
    ...ticks(columns, first[0]).map((value) =>
      text(x + ((value - first[0] + 0.5) / columns) * WIDTH, cells + HEIGHT + 14, String(value), {
        size: style.small,
        anchor: 'middle',
        fill: style.soft,
      }),
    ),
    ...ticks(rows, first[1]).map((value) =>
      text(x - 6, cells + ((value - first[1] + 0.5) / rows) * HEIGHT + 4, String(value), {
        size: style.small,
        anchor: 'end',
        fill: style.soft,
      }),
    ),
    text(x + WIDTH / 2, cells + HEIGHT + 28, options.x, { size: style.small, anchor: 'middle', fill: style.soft }),
    `<g transform="rotate(-90 ${x - 30} ${cells + HEIGHT / 2})">${text(x - 30, cells + HEIGHT / 2, options.y, { size: style.small, anchor: 'middle', fill: style.soft })}</g>`,
  ].join('');
}

function colourBar(x: number, y: number, { range: [low, high], scale }: HeatMapOptions): string {
  const steps = 64;
  const cell = HEIGHT / steps;
  const at = (share: number): number => low * (high / low) ** share;
  const cells = Array.from({ length: steps }, (_, i) => {
    const [r, g, b] = colourOf(at(1 - (i + 0.5) / steps), [low, high]);
    return `<rect x="${x}" y="${round(y + i * cell)}" width="${BAR.width}" height="${round(cell + 0.5)}" fill="rgb(${r},${g},${b})"/>`;
  });
  const decades: number[] = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high) + 1e-9; power++) decades.push(power);
  const shown = decades.filter((_, i) => i % Math.ceil(decades.length / 6) === 0);
  const labels = shown.map((power) => {
    const share = (power - Math.log10(low)) / Math.log10(high / low);
    return text(x + BAR.width + 6, y + (1 - share) * HEIGHT + 4, `1e${power}`, { size: style.small, fill: style.soft });
  });
  return [...cells, ...labels, text(x, y - 10, scale, { size: style.small, fill: style.soft })].join('');
}

/** RGB of a value on the ramp. */
function colourOf(value: number, [low, high]: readonly [number, number]): [number, number, number] {
  const share = value <= low ? 0 : value >= high ? 1 : Math.log(value / low) / Math.log(high / low);
  const at = share * (RAMP.length - 1);
  const i = Math.min(RAMP.length - 2, Math.floor(at));
  const channel = (colour: string, c: number): number => parseInt(colour.slice(1 + 2 * c, 3 + 2 * c), 16);
  return [0, 1, 2].map((c) => Math.round(channel(RAMP[i]!, c) + (at - i) * (channel(RAMP[i + 1]!, c) - channel(RAMP[i]!, c)))) as [
    number,
    number,
    number,
  ];
}
