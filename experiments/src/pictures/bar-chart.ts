import * as Plot from '@observablehq/plot';
import type { Picture } from '../runner/experiment.ts';
import { axisStyle, plotSvg } from './plot.ts';
import { drawSvg, round, style, svgDocument, text, textWidth } from './style.ts';

export interface BarSeries {
  readonly name: string;
  /** One value a group, not negative. */
  readonly values: readonly number[];
  /** Index into the colours; the place in the list by default. */
  readonly color?: number;
}

export interface BarPanel {
  readonly title: string;
  readonly series: readonly BarSeries[];
}

export interface BarChartOptions {
  readonly title?: string;
  /** Below the groups, one each. */
  readonly groups: readonly string[];
  readonly width?: number;
  readonly height?: number;
}

/** Above the bars (title, legend, numbers), below them (names of the groups), and between panels. */
const [HEAD, BELOW, GAP] = [36, 30, 30];

/**
 * Groups of bars with their numbers on top, each panel on a scale of its own from zero.
 *
 * @throws Error for no panel, a wrong number of values, or a value that is negative or not finite
 */
export function barChart(panels: readonly BarPanel[], options: BarChartOptions): Picture {
  const { title, groups, width: each = 300, height: tall = 170 } = options;
  if (panels.length === 0 || groups.length === 0) throw new Error('barChart: wanted at least one panel and one group, got none');
  for (const { series } of panels)
    for (const { name, values } of series) {
      if (values.length !== groups.length) throw new Error(`barChart: '${name}': wanted ${groups.length} values, got ${values.length}`);
      const bad = values.find((value) => !Number.isFinite(value) || value < 0);
      if (bad !== undefined) throw new Error(`barChart: '${name}': wanted finite values from 0, got ${bad}`);
    }
  const { margin } = style;
  const top = margin + (title ? 28 : 0);
  const inner = panels.length * each + (panels.length - 1) * GAP;
  const width = Math.ceil(Math.max(2 * margin + inner, title ? 2 * margin + textWidth(title, style.title, true) : 0));
  const height = top + HEAD + tall + BELOW + margin / 2;
  const body = panels.map((panel, i) => drawPanel(panel, groups, margin + i * (each + GAP), top, each, tall));
  if (title) body.unshift(text(margin, margin + 12, title, { size: style.title, bold: true }));
  return drawSvg(svgDocument(width, height, body.join('')), width, height);
}

function drawPanel({ title, series }: BarPanel, groups: readonly string[], x: number, y: number, width: number, height: number): string {
  const bars = series.flatMap(({ name, values }) => values.map((value, g) => ({ group: groups[g]!, name, value })));
  const fontSize = bars.length > 12 ? 9 : style.small;
  const chart = plotSvg({
    width,
    height: height + BELOW,
    margin: 0,
    marginTop: 18,
    marginBottom: BELOW,
    fx: { domain: [...groups], padding: 0.24 },
    x: { domain: series.map(({ name }) => name), padding: 0.04, axis: null },
    y: { domain: [0, Math.max(...bars.map(({ value }) => value), Number.MIN_VALUE)], axis: null },
    color: { domain: series.map(({ name }) => name), range: series.map(fillOf) },
    marks: [
      Plot.axisFx({ ...axisStyle, anchor: 'bottom', label: null, tickSize: 0 }),
      Plot.barY(bars, { fx: 'group', x: 'name', y: 'value', fill: 'name' }),
      Plot.text(bars, {
        fx: 'group',
        x: 'name',
        y: 'value',
        text: ({ value }: { value: number }) => shortNumber(value),
        dy: -8,
        fill: style.ink,
        fontSize,
      }),
      Plot.frame({ anchor: 'bottom', facet: 'super', stroke: style.line }),
    ],
  });
  return [
    text(x, y + 12, title, { bold: true }),
    series.length > 1 ? legend(series, x, y) : '',
    `<g transform="translate(${x} ${y + HEAD})">${chart}</g>`,
  ].join('');
}

const fillOf = ({ color }: BarSeries, place: number): string => style.series[(color ?? place) % style.series.length]!;

function legend(series: readonly BarSeries[], x: number, y: number): string {
  let at = x;
  return series
    .map((one, i) => {
      const entry =
        `<rect x="${round(at)}" y="${y + 22}" width="10" height="10" fill="${fillOf(one, i)}"/>` +
        text(at + 15, y + 31, one.name, { size: style.small });
      at += 15 + textWidth(one.name, style.small) + 16;
      return entry;
    })
    .join('');
}

/** Three significant digits. */
function shortNumber(value: number): string {
  if (value !== 0 && value < 1e-3) return value.toExponential(0);
  return String(Number(value.toPrecision(value >= 100 ? 3 : 2)));
}
