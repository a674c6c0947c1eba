import * as Plot from '@observablehq/plot';
import { mean } from 'd3-array';
import type { Picture } from '../runner/experiment.ts';
import { axisStyle, plotSvg } from './plot.ts';
import { decades, tickText } from './ticks.ts';
import { drawSvg, round, style, svgDocument, text, textWidth } from './style.ts';

export interface ChartSeries {
  /** Stands in the legend, unless it is empty. */
  readonly name: string;
  /** Pairs [x, y], in the order of x. */
  readonly points: readonly (readonly [number, number])[];
  /** Index into the colours; the place in the list by default. */
  readonly color?: number;
  readonly dashed?: boolean;
  /** Triples [x, low, high], in the order of x: a pale area behind the curve. */
  readonly band?: readonly (readonly [number, number, number])[];
}

export interface LineChartOptions {
  readonly title?: string;
  readonly x?: string;
  readonly y?: string;
  readonly logX?: boolean;
  readonly logY?: boolean;
  /** Where the axis of x is marked; round numbers if absent. */
  readonly xTicks?: readonly number[];
  /** Marks every point: for few points that were measured one by one. */
  readonly dots?: boolean;
  readonly width?: number;
  readonly height?: number;
}

const MOST_POINTS = 600;

/**
 * Curves over a common axis, with a legend above. Long curves are thinned to the mean of equal parts.
 *
 * @throws Error if there is no point, a number is not finite, or a logarithmic axis meets a number that is not positive.
 */
export function lineChart(series: readonly ChartSeries[], options: LineChartOptions = {}): Picture {
  const { title, logX = false, logY = false, dots = false, width = 560, height = 300 } = options;
  check(series, logX, logY);
  const rows = series.map((one, i) => ({
    ...one,
    stroke: style.series[(one.color ?? i) % style.series.length]!,
    points: thin(one.points),
  }));
  const xs = series.flatMap(({ points }) => points.map(([x]) => x));
  const ys = series.flatMap(({ points, band = [] }) => [...points.map(([, y]) => y), ...band.flatMap(([, low, high]) => [low, high])]);
  const xTicks = options.xTicks === undefined ? (logX ? logTicks(xs) : 6) : [...options.xTicks];
  const yTicks = logY ? decades(ys) : 6;
  const plain = plotSvg({
    width,
    height,
    marginLeft: 58,
    marginRight: 20,
    marginTop: 22,
    marginBottom: 42,
    // Room for the marks of the first and the last point.
    inset: dots ? 6 : 0,
    x: { type: logX ? 'log' : 'linear' },
    y: logY ? { type: 'log', domain: [decades(ys)[0]!, decades(ys).at(-1)!] } : { type: 'linear', nice: true },
    marks: [
      Plot.gridY({ stroke: style.faint, strokeOpacity: 1, ticks: yTicks }),
      Plot.axisX({
        ...axisStyle,
        tickSize: 4,
        ticks: xTicks,
        label: options.x ?? null,
        labelAnchor: 'center',
        labelOffset: 36,
        tickFormat: tickText,
      }),
      Plot.axisY({
        ...axisStyle,
        ticks: yTicks,
        label: options.y ?? null,
        labelAnchor: 'top',
        labelOffset: 50,
        tickSize: 0,
        tickFormat: tickText,
      }),
      ...rows.map(({ band = [], stroke }) => Plot.areaY(band, { x: '0', y1: '1', y2: '2', fill: stroke, fillOpacity: 0.15 })),
      ...rows.map(({ points, stroke, dashed }) =>
        Plot.line(points, {
          x: '0',
          y: '1',
          stroke,
          strokeWidth: 1.8,
          strokeLinejoin: 'round',
          strokeDasharray: dashed ? '5 4' : undefined,
        }),
      ),
      ...(dots ? rows.map(({ points, stroke }) => Plot.dot(points, { x: '0', y: '1', fill: stroke, r: 3.2 })) : []),
    ],
  });

  const { margin } = style;
  const top = margin + (title ? 24 : 0);
  const legend = series.length > 1 ? drawLegend(rows, margin, top + 4, width) : { svg: '', height: 0 };
  const chartTop = top + legend.height;
  const total = { width: width + margin, height: chartTop + height + 4 };
  const body =
    (title ? text(margin, margin + 12, title, { size: style.title, bold: true }) : '') +
    legend.svg +
    `<g transform="translate(${margin / 2} ${chartTop})">${plain}</g>`;
  return drawSvg(svgDocument(total.width, total.height, body), total.width, total.height);
}

function drawLegend(
  rows: readonly { name: string; stroke: string; dashed?: boolean }[],
  left: number,
  top: number,
  width: number,
): { svg: string; height: number } {
  let [x, y, svg] = [left, top, ''];
  for (const { name, stroke, dashed } of rows) {
    if (name === '') continue;
    const needed = 22 + 6 + textWidth(name, style.label) + 20;
    if (x > left && x + needed > left + width) [x, y] = [left, y + 18];
    svg += `<path d="M${round(x)} ${y + 6}h22" stroke="${stroke}" stroke-width="2.4"${dashed ? ' stroke-dasharray="5 4"' : ''}/>`;
    svg += text(x + 28, y + 10, name);
    x += needed;
  }
  return { svg, height: y - top + 24 };
}

/** At most `most` points, each the mean of an equal share of the curve. */
export function thin(points: ChartSeries['points'], most = MOST_POINTS): [number, number][] {
  const share = Math.ceil(points.length / most);
  const out: [number, number][] = [];
  for (let i = 0; i < points.length; i += share) {
    const part = points.slice(i, i + share);
    out.push([mean(part, ([x]) => x)!, mean(part, ([, y]) => y)!]);
  }
  return out;
}

/** The measured places themselves where they are few, else powers of ten. */
function logTicks(values: readonly number[]): number[] {
  const distinct = [...new Set(values)];
  return distinct.length <= 10 ? distinct : decades(values);
}

function check(series: readonly ChartSeries[], logX: boolean, logY: boolean): void {
  if (!series.some(({ points }) => points.length > 0)) throw new Error('lineChart: wanted at least one point, got none');
  for (const { name, points, band = [] } of series) {
    for (const [x, y] of [...points, ...band.flatMap(([at, low, high]) => [[at, low] as const, [at, high] as const])]) {
      if (!Number.isFinite(x) || !Number.isFinite(y)) throw new Error(`lineChart: '${name}': wanted finite numbers, got [${x}, ${y}]`);
      if ((logX && x <= 0) || (logY && y <= 0))
        throw new Error(`lineChart: '${name}': wanted positive numbers on a logarithmic axis, got [${x}, ${y}]`);
    }
  }
}
