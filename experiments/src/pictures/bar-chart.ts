import type { Picture } from '../runner/experiment.ts';
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

const [HEAD, BELOW, GAP] = [48, 26, 30];

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
  const most = Math.max(...series.flatMap(({ values }) => values), Number.MIN_VALUE);
  const base = y + HEAD + height;
  const slot = width / groups.length;
  const bar = (0.72 * slot) / series.length;
  const parts = [
    text(x, y + 12, title, { bold: true }),
    `<path d="M${x} ${base}h${width}" stroke="${style.line}"/>`,
    ...groups.map((group, g) => text(x + (g + 0.5) * slot, base + 16, group, { size: style.small, anchor: 'middle', fill: style.soft })),
  ];
  let legend = x;
  series.forEach(({ name, values, color }, s) => {
    const fill = style.series[(color ?? s) % style.series.length]!;
    if (series.length > 1) {
      parts.push(
        `<rect x="${round(legend)}" y="${y + 22}" width="10" height="10" fill="${fill}"/>`,
        text(legend + 15, y + 31, name, { size: style.small }),
      );
      legend += 15 + textWidth(name, style.small) + 16;
    }
    values.forEach((value, g) => {
      const tall = (value / most) * (height - 18);
      const left = x + (g + 0.14) * slot + s * bar;
      parts.push(
        `<rect x="${round(left)}" y="${round(base - tall)}" width="${round(bar - 1)}" height="${round(tall)}" fill="${fill}"/>`,
        text(left + bar / 2, base - tall - 4, shortNumber(value), {
          size: series.length * groups.length > 12 ? 9 : style.small,
          anchor: 'middle',
        }),
      );
    });
  });
  return parts.join('');
}

/** Three significant digits. */
function shortNumber(value: number): string {
  if (value !== 0 && value < 1e-3) return value.toExponential(0);
  return String(Number(value.toPrecision(value >= 100 ? 3 : 2)));
}
