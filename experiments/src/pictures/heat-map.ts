import * as Plot from '@observablehq/plot';
import type { Picture } from '../runner/experiment.ts';
import { axisStyle, plotSvg } from './plot.ts';
import { drawSvg, style, svgDocument, text, textWidth } from './style.ts';

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
/** Room around a chart for the labels at the ends of its axes. */
const AIR = 8;
/** Steps of colour in the bar. */
const STEPS = 64;
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
  { x: xLabel, y: yLabel, range }: HeatMapOptions,
  first: readonly [number, number],
): string {
  const cells = Array.from(values, (value, i) => ({
    column: first[0] + (i % columns),
    row: first[1] + Math.floor(i / columns),
    value: Math.min(range[1], Math.max(range[0], value)),
  }));
  const ticks = (count: number, from: number): number[] =>
    [...new Set([0, (count - 1) / 2, count - 1].map(Math.round))].map((at) => at + from);
  const chart = plotSvg({
    width: LEFT + WIDTH + AIR,
    height: AIR + HEIGHT + BELOW,
    margin: AIR,
    marginLeft: LEFT,
    marginBottom: BELOW,
    x: { domain: Array.from({ length: columns }, (_, i) => first[0] + i), padding: 0, round: false },
    y: { domain: Array.from({ length: rows }, (_, i) => first[1] + i), padding: 0, round: false },
    color: colours(range),
    marks: [
      Plot.cell(cells, { x: 'column', y: 'row', fill: 'value', shapeRendering: 'crispEdges' }),
      Plot.frame({ stroke: style.line }),
      Plot.axisX({ ...axisStyle, ticks: ticks(columns, first[0]), tickSize: 0, label: xLabel, labelAnchor: 'center', labelOffset: 32 }),
      Plot.axisY({ ...axisStyle, ticks: ticks(rows, first[1]), tickSize: 0, label: yLabel, labelAnchor: 'center', labelOffset: 34 }),
    ],
  });
  return [
    text(x, y + 12, title, { bold: true }),
    note === undefined ? '' : text(x, y + 28, note, { size: style.small, fill: style.soft }),
    `<g transform="translate(${x - LEFT} ${y + HEAD - AIR})">${chart}</g>`,
  ].join('');
}

function colourBar(x: number, y: number, { range, scale }: HeatMapOptions): string {
  const [low, high] = range;
  const edge = (i: number): number => low * (high / low) ** (i / STEPS);
  const steps = Array.from({ length: STEPS }, (_, i) => ({ from: edge(i), to: edge(i + 1), value: edge(i + 0.5) }));
  const decades: number[] = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high) + 1e-9; power++) decades.push(Number(`1e${power}`));
  const shown = decades.filter((_, i) => i % Math.ceil(decades.length / 6) === 0);
  const chart = plotSvg({
    width: BAR.width + BAR.labels,
    height: HEIGHT + 2 * AIR,
    margin: AIR,
    marginLeft: 0,
    marginRight: BAR.labels,
    x: { domain: [0, 1], axis: null },
    y: { type: 'log', domain: [low, high] },
    color: colours(range),
    marks: [
      Plot.rect(steps, { x1: 0, x2: 1, y1: 'from', y2: 'to', fill: 'value', shapeRendering: 'crispEdges' }),
      Plot.axisY(shown, {
        ...axisStyle,
        anchor: 'right',
        tickSize: 0,
        tickPadding: 6,
        label: null,
        tickFormat: (value: number) => `1e${Math.round(Math.log10(value))}`,
      }),
    ],
  });
  return `<g transform="translate(${x} ${y - AIR})">${chart}</g>${text(x, y - 10, scale, { size: style.small, fill: style.soft })}`;
}

/** A logarithmic scale over the ramp. */
function colours(range: readonly [number, number]): Plot.ScaleOptions {
  return { type: 'log', domain: [...range], interpolate: rampAt };
}

/** The colour at a share of the ramp. */
function rampAt(share: number): string {
  const at = Math.min(1, Math.max(0, share)) * (RAMP.length - 1);
  const i = Math.min(RAMP.length - 2, Math.floor(at));
  const channel = (colour: string, c: number): number => parseInt(colour.slice(1 + 2 * c, 3 + 2 * c), 16);
  const mixed = [0, 1, 2].map((c) => Math.round(channel(RAMP[i]!, c) + (at - i) * (channel(RAMP[i + 1]!, c) - channel(RAMP[i]!, c))));
  return `rgb(${mixed.join(', ')})`;
}
