import type { StepPicture } from '../runner/run-data.ts';
import { element } from './element.ts';

/** Pictures under one slider: every column shows the one that was drawn at the chosen step, or last before it. */
export function stepSlider(name: string, columns: readonly { steps: readonly StepPicture[]; width: number }[]): HTMLElement {
  const steps = [...new Set(columns.flatMap((column) => column.steps.map(({ step }) => step)))].sort((a, b) => a - b);
  const pictures = columns.map(({ width }) => element('img', { width, alt: name }));
  const slider = element('input', {
    type: 'range',
    min: 0,
    max: steps.length - 1,
    value: steps.length - 1,
    'aria-label': `step of ${name}`,
  });
  const said = element('output');
  const show = (): void => {
    const step = steps[Number(slider.value)]!;
    said.textContent = `step ${step}`;
    columns.forEach((column, i) => {
      const before = column.steps.filter((one) => one.step <= step);
      const { file, step: drawn } = before.at(-1) ?? column.steps[0]!;
      pictures[i]!.src = file;
      pictures[i]!.alt = `${name}, after step ${drawn}`;
    });
  };
  slider.addEventListener('input', show);
  show();
  const head = element('div', { class: 'slider' }, element('h3', {}, name), ...(steps.length > 1 ? [slider] : []), said);
  return element(
    'figure',
    { class: 'steps' },
    head,
    element('div', { class: `columns of-${columns.length}` }, ...pictures.map((one) => element('div', { class: 'wide' }, one))),
  );
}
