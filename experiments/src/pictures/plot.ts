import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { style } from './style.ts';

/** A chart by Observable Plot as an `<svg>` element of its own, to be placed by a surrounding group: without a page, style sheets or classes. */
export function plotSvg(options: Plot.PlotOptions & { width: number; height: number }): string {
  const { width, height } = options;
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const chart = Plot.plot({ ...options, document: document as unknown as Document }) as unknown as Element;
  // Only browsers read style sheets and classes: what they say becomes attributes.
  for (const sheet of [...chart.querySelectorAll('style')]) sheet.remove();
  for (const element of [...chart.querySelectorAll('*')]) {
    element.removeAttribute('class');
    if (element.getAttribute('fill') === 'currentColor') element.setAttribute('fill', style.soft);
    if (element.getAttribute('stroke') === 'currentColor') element.setAttribute('stroke', style.line);
  }
  return `<svg x="0" y="0" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" text-anchor="middle">${chart.innerHTML}</svg>`;
}

/** How axes look in all charts. */
export const axisStyle = { stroke: style.line, fill: style.soft, fontSize: style.small, labelArrow: 'none' } as const;
