import type { ChartData, ChartLine } from '../runner/run-data.ts';
import { numberText } from '../runner/number-text.ts';
import { tickText } from '../pictures/ticks.ts';
import { stepAxis, valueAxis, type Axis } from './axes.ts';
import { element, shape } from './element.ts';

const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [230, 54, 12, 10, 34];
/** Lines of the box at the pointer at most. */
const MOST_ROWS = 12;

type Frame = { readonly width: number; readonly x: Axis; readonly y: Axis };
const across = ({ width, x }: Frame, step: number): number => LEFT + x.place(step) * (width - LEFT - RIGHT);
const down = ({ y }: Frame, value: number): number => HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);

/**
 * A chart with a legend, as wide as the place it is put in. A pointer, a finger or the arrow keys show the values at a step.
 *
 * @param axes lines whose values the axes hold too, for charts that stand side by side
 */
export function drawChart({ title, note, lines }: ChartData, axes: readonly ChartLine[] = lines): HTMLElement {
  const points = axes.flatMap((line) => line.points);
  const [x, y] = [stepAxis(points.map(([step]) => step)), valueAxis(points.map(([, value]) => value))];
  const words = [note, y.log ? 'Logarithmic axis.' : ''].filter((one) => one !== '').join(' ');
  const plot = element('div', {
    class: 'plot',
    tabindex: 0,
    role: 'img',
    'aria-label': `${title}: ${lines.map(({ method }) => method).join(', ')}`,
  });
  const figure = element('figure', { class: 'chart' }, element('h3', {}, title));
  if (words !== '') figure.append(element('p', { class: 'soft' }, words));
  figure.append(legend(lines), plot);
  let width = 0;
  new ResizeObserver(() => {
    if (plot.clientWidth === width || plot.clientWidth === 0) return;
    width = plot.clientWidth;
    draw(plot, lines, { width, x, y });
  }).observe(plot);
  return figure;
}

function legend(lines: readonly ChartLine[]): HTMLElement {
  const entries = new Map(lines.map(({ method, color }) => [method, color]));
  const seeds =
    lines.length > entries.size ? [element('span', { class: 'soft' }, 'a method may have several lines, for seeds or parts')] : [];
  return element('p', { class: 'legend' }, ...[...entries].map(([method, color]) => element('span', {}, swatch(color), method)), ...seeds);
}

const swatch = (color: string): HTMLElement => element('i', { class: 'swatch', style: `background:${color}` });

function draw(plot: HTMLElement, lines: readonly ChartLine[], frame: Frame): void {
  const { width, x, y } = frame;
  const drawing = shape('svg', { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, 'aria-hidden': 'true' });
  for (const tick of y.ticks) {
    const at = down(frame, tick);
    drawing.append(shape('path', { class: 'grid', d: `M${LEFT} ${at}H${width - RIGHT}` }));
    drawing.append(shape('text', { x: LEFT - 7, y: at + 4, 'text-anchor': 'end' }, tickText(tick)));
  }
  for (const tick of x.ticks)
    drawing.append(shape('text', { x: across(frame, tick), y: HEIGHT - BOTTOM + 16, 'text-anchor': 'middle' }, tickText(tick)));
  drawing.append(shape('text', { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 3, 'text-anchor': 'middle' }, 'step'));
  for (const { points, color } of lines) {
    const path = points.map(
      ([step, value], i) => `${i === 0 ? 'M' : 'L'}${across(frame, step).toFixed(1)} ${down(frame, value).toFixed(1)}`,
    );
    drawing.append(shape('path', { class: 'line', d: path.join(''), stroke: color }));
  }
  const pointer = shape('g', { class: 'pointer' });
  drawing.append(pointer);
  const box = element('div', { class: 'values', hidden: true });
  plot.replaceChildren(drawing, box);
  follow(
    plot,
    frame,
    [...new Set(lines.flatMap(({ points }) => points.map(([step]) => step)))].sort((a, b) => a - b),
    (step) => {
      pointer.replaceChildren();
      box.hidden = step === undefined;
      if (step !== undefined) showStep(frame, lines, step, pointer, box);
    },
  );
}

/** Calls `show` with the step nearest to the pointer, or the one that arrow keys reach; without one when the pointer is gone. */
function follow(plot: HTMLElement, frame: Frame, steps: readonly number[], show: (step: number | undefined) => void): void {
  let at = steps.length - 1;
  plot.onpointermove = plot.onpointerdown = (event) => {
    const place = event.clientX - plot.getBoundingClientRect().left;
    at = steps.reduce(
      (best, step, i) => (Math.abs(across(frame, step) - place) < Math.abs(across(frame, steps[best]!) - place) ? i : best),
      0,
    );
    show(steps[at]);
  };
  plot.onpointerleave = plot.onblur = () => show(undefined);
  plot.onkeydown = (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    at = Math.min(steps.length - 1, Math.max(0, at + move));
    show(steps[at]);
  };
}

function showStep(frame: Frame, lines: readonly ChartLine[], step: number, pointer: SVGElement, box: HTMLElement): void {
  const at = across(frame, step);
  pointer.append(shape('path', { class: 'grid', d: `M${at} ${TOP}V${HEIGHT - BOTTOM}` }));
  const rows = lines.map((line) => ({ ...line, point: nearest(line.points, step) })).sort((a, b) => b.point[1] - a.point[1]);
  for (const { point, color } of rows)
    pointer.append(shape('circle', { cx: across(frame, point[0]), cy: down(frame, point[1]), r: 3.5, fill: color }));
  const shown = rows.slice(0, MOST_ROWS);
  box.replaceChildren(
    element('b', {}, `step ${tickText(step)}`),
    ...shown.map(({ method, series, color, point }) => {
      const repeated = lines.filter((line) => line.method === method).length > 1;
      return element('div', {}, swatch(color), repeated ? series : method, element('span', {}, numberText(point[1])));
    }),
    ...(rows.length > shown.length ? [`and ${rows.length - shown.length} more`] : []),
  );
  const room = at > frame.width / 2 ? `right:${frame.width - at + 10}px` : `left:${at + 10}px`;
  box.setAttribute('style', room);
}

const nearest = (points: ChartLine['points'], step: number): readonly [number, number] =>
  points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
