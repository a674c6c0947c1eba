import type { HostTensor } from '@atelier/tensor';
import type { Picture } from '../runner/experiment.ts';
import { drawSvg, round, style, svgDocument, text, textWidth } from './style.ts';

export interface ScatterPanel {
  readonly title: string;
  /** A second, quiet line below the title: a number that was measured. */
  readonly note?: string;
  /** [N, 2] float32 */
  readonly points: HostTensor;
  /** Index into the colours of the series; 0 by default. Use one colour for one method. */
  readonly color?: number;
}

export interface ScatterGridOptions {
  readonly title?: string;
  /** Panels in a row; all of them up to 5 by default. */
  readonly columns?: number;
  /** Both axes run from -extent to extent, the same for all panels; by default large enough for 99.5 % of the coordinates of the first panel, with a margin. */
  readonly extent?: number;
  /** Points drawn in a panel at most, the first ones; 2000 by default. */
  readonly most?: number;
}

const [PANEL, GAP] = [190, 14];

/**
 * Points in the plane, panels side by side on the same axes. Points outside of the axes are not drawn; if their share reaches 0.1 %, it is printed in the corner.
 *
 * @throws Error for no panel, another shape, or numbers that are not finite.
 */
export function scatterGrid(panels: readonly ScatterPanel[], options: ScatterGridOptions = {}): Picture {
  if (panels.length === 0) throw new Error('scatterGrid: wanted at least one panel, got none');
  for (const { title, points } of panels) checkPoints(title, points);
  const { title, columns = Math.min(5, panels.length), most = 2000 } = options;
  const extent = options.extent ?? commonExtent(panels[0]!.points);
  const head = panels.some((panel) => panel.note !== undefined) ? 38 : 22;
  const { margin } = style;
  const top = margin + (title ? 28 : 0);
  const rows = Math.ceil(panels.length / columns);
  const width = Math.ceil(
    Math.max(2 * margin + columns * PANEL + (columns - 1) * GAP, title ? 2 * margin + textWidth(title, style.title, true) : 0),
  );
  const height = top + rows * (head + PANEL) + (rows - 1) * GAP + margin;
  const body = panels.map((panel, i) => {
    const x = margin + (i % columns) * (PANEL + GAP);
    const y = top + Math.floor(i / columns) * (head + PANEL + GAP);
    return drawPanel(panel, x, y, head, extent, most);
  });
  if (title) body.unshift(text(margin, margin + 12, title, { size: style.title, bold: true }));
  // Thousands of points make a heavy document; as pixels they are small.
  const { png } = drawSvg(svgDocument(width, height, body.join('')), width, height);
  return { png, width, height };
}

function drawPanel(
  { title, note, points, color = 0 }: ScatterPanel,
  x: number,
  y: number,
  head: number,
  extent: number,
  most: number,
): string {
  const total = points.shape[0]!;
  const data = points.data as Float32Array;
  const place = (value: number): number => round((PANEL * (value + extent)) / (2 * extent));
  let outside = 0;
  let path = '';
  for (let i = 0; i < total; i++) {
    const [a, b] = [data[2 * i]!, data[2 * i + 1]!];
    if (Math.abs(a) > extent || Math.abs(b) > extent) outside += 1;
    else if (i < most) path += `M${place(a)} ${round(PANEL - place(b))}h0`;
  }
  const middle = PANEL / 2;
  return (
    text(x, y + 12, title, { bold: true }) +
    (note === undefined ? '' : text(x, y + 28, note, { size: style.small, fill: style.soft })) +
    `<g transform="translate(${x} ${y + head - 4})">` +
    `<rect width="${PANEL}" height="${PANEL}" fill="${style.paper}" stroke="${style.line}"/>` +
    `<path d="M0 ${middle}H${PANEL}M${middle} 0V${PANEL}" stroke="${style.faint}" fill="none"/>` +
    `<path d="${path}" stroke="${style.series[color % style.series.length]}" stroke-width="1.7" stroke-linecap="round" stroke-opacity="0.6" fill="none"/>` +
    (outside / total < 0.001
      ? ''
      : text(PANEL - 6, PANEL - 7, `${percent(outside / total)} outside`, {
          size: style.small,
          anchor: 'end',
          fill: style.soft,
          rim: true,
        })) +
    '</g>'
  );
}

function commonExtent(points: HostTensor): number {
  const sizes = Float32Array.from(points.data as Float32Array, Math.abs).sort();
  return 1.25 * (sizes[Math.min(sizes.length - 1, Math.floor(0.995 * sizes.length))]! || 1);
}

function checkPoints(title: string, { dtype, shape, data }: HostTensor): void {
  if (dtype !== 'float32' || shape.length !== 2 || shape[1] !== 2 || shape[0] === 0) {
    throw new Error(`scatterGrid: '${title}': wanted float32 [N, 2], got ${dtype} [${shape.join(', ')}]`);
  }
  const bad = (data as Float32Array).findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new Error(`scatterGrid: '${title}': wanted finite numbers, got ${data[bad]} at position ${bad}`);
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
