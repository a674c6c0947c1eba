import type { ChartData, Figure, StepPictures } from '../runner/run-data.ts';
import type { RunEntry } from '../runner/runs-page.ts';
import { drawChart } from './chart.ts';
import { element } from './element.ts';
import { stepSlider } from './steps.ts';

/** Two runs side by side: what differs in their configurations, claims, curves, samples and figures. */
export function comparison(a: RunEntry, b: RunEntry): HTMLElement {
  const parts = [
    section('Configuration', ...configurations(a, b)),
    section('Claims', ...claims(a, b)),
    section(
      'Curves',
      ...pairs(
        a,
        b,
        (run) => run.charts,
        ({ id }) => id,
        charts,
      ),
    ),
    section(
      'Samples',
      ...pairs(
        a,
        b,
        (run) => run.steps,
        ({ name }) => name,
        samples,
      ),
    ),
    section(
      'Figures',
      ...pairs(
        a,
        b,
        (run) => run.figures,
        ({ name }) => name,
        figures,
      ),
    ),
  ];
  const heads = [a, b].map((run) => element('div', {}, element('b', {}, run.id), element('div', { class: 'soft' }, run.title)));
  return element('div', {}, element('h2', {}, 'Two runs side by side'), element('div', { class: 'columns of-2' }, ...heads), ...parts);
}

/** Two things side by side, each under the name of its run where a narrow screen puts one above the other. */
const beside = (a: RunEntry, b: RunEntry, left: HTMLElement, right: HTMLElement): HTMLElement =>
  element('div', { class: 'columns of-2' }, element('div', { 'data-column': a.id }, left), element('div', { 'data-column': b.id }, right));

const section = (title: string, ...body: HTMLElement[]): HTMLElement =>
  element('section', {}, element('h2', {}, title), ...(body.length === 0 ? [none('Neither run has any.')] : body));

const none = (words: string): HTMLElement => element('p', { class: 'soft' }, words);

type Pair<T> = [left: T | undefined, right: T | undefined];

/** What both runs have under the same name, side by side, then what only one of them has. */
function pairs<T>(
  a: RunEntry,
  b: RunEntry,
  of: (run: RunEntry) => readonly T[],
  nameOf: (one: T) => string,
  draw: (pair: Pair<T>, a: RunEntry, b: RunEntry) => HTMLElement,
): HTMLElement[] {
  const names = [...new Set([...of(a), ...of(b)].map(nameOf))];
  const found = names.map((name): Pair<T> => {
    const [left, right] = [a, b].map((run) => of(run).find((one) => nameOf(one) === name));
    return [left, right];
  });
  const alone = (pair: Pair<T>): number => Number(pair.includes(undefined));
  return found.sort((one, other) => alone(one) - alone(other)).map((pair) => draw(pair, a, b));
}

const absent = (): HTMLElement => none('Not in this run.');

function charts([left, right]: Pair<ChartData>, a: RunEntry, b: RunEntry): HTMLElement {
  const axes = [left, right].flatMap((one) => one?.lines ?? []);
  const draw = (one: ChartData | undefined): HTMLElement => (one ? drawChart(one, axes) : absent());
  return beside(a, b, draw(left), draw(right));
}

function samples([left, right]: Pair<StepPictures>, a: RunEntry, b: RunEntry): HTMLElement {
  if (left && right) return stepSlider(left.name, [left, right]);
  const draw = (one: StepPictures | undefined): HTMLElement => (one ? stepSlider(one.name, [one]) : absent());
  return beside(a, b, draw(left), draw(right));
}

function figures([left, right]: Pair<Figure>, a: RunEntry, b: RunEntry): HTMLElement {
  const draw = (one: Figure | undefined): HTMLElement => {
    if (one === undefined) return absent();
    const picture = element('img', { src: one.file, alt: one.caption, width: one.width, ...(one.chart && { class: 'lines' }) });
    return element('figure', {}, element('div', { class: 'wide' }, picture), element('figcaption', {}, one.caption));
  };
  return beside(a, b, draw(left), draw(right));
}

function configurations(a: RunEntry, b: RunEntry): HTMLElement[] {
  const keys = [...new Set([...Object.keys(a.config), ...Object.keys(b.config)])];
  const different = keys.filter((key) => a.config[key] !== b.config[key]);
  const equal = none(`${keys.length - different.length} keys are equal.`);
  if (different.length === 0) return [equal];
  const rows = different.map((key) => [key, a.config[key] ?? 'no such key', b.config[key] ?? 'no such key']);
  return [table('differences', ['key', a.id, b.id], rows), equal];
}

function claims(a: RunEntry, b: RunEntry): HTMLElement[] {
  const ids = [...new Set([...a.claims, ...b.claims].map(({ id }) => id))];
  if (ids.length === 0) return [];
  const rows = ids.map((id) => {
    const [left, right] = [a, b].map((run) => run.claims.find((claim) => claim.id === id));
    const text = (one: typeof left): string => (one ? `${one.verdict} ${one.measured} (${one.bound})` : 'not measured');
    return [(left ?? right)!.claim, text(left), text(right)];
  });
  return [table('verdicts', ['claim', a.id, b.id], rows)];
}

/** A table that narrow screens show as a list: each cell says which column it belongs to. */
function table(name: string, columns: readonly string[], rows: readonly (readonly string[])[]): HTMLElement {
  const head = element('tr', {}, ...columns.map((one) => element('th', {}, one)));
  const body = rows.map((cells) => element('tr', {}, ...cells.map((cell, i) => element('td', { 'data-column': columns[i]! }, cell))));
  return element('table', { class: `stack ${name}` }, element('thead', {}, head), element('tbody', {}, ...body));
}
