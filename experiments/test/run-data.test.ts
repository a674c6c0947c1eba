import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stepAxis, valueAxis } from '../src/page-script/axes.ts';
import { experiments } from '../src/registry.ts';
import type { MetricsLine } from '../src/runner/metrics-file.ts';
import { chartsOf } from '../src/runner/run-data.ts';
import { wordList } from '../src/runner/words.ts';

const find = (name: string) => experiments.find((one) => one.name === name)!;
/** Two lines of a series, so that it has a curve. */
const two = (series: string, metrics: Record<string, number> = { loss: 1, ms: 2 }): MetricsLine[] => [
  { series, step: 1, ...metrics },
  { series, step: 2, ...metrics },
];
/** Titles of the charts with the series in each. */
const drawn = (experiment: string, ...lines: MetricsLine[]): Record<string, string[]> =>
  Object.fromEntries(chartsOf(find(experiment), lines, 10).map(({ title, lines: found }) => [title, found.map(({ series }) => series)]));

describe('which curves share axes', () => {
  it('losses that measure different things have axes of their own; other metrics of a group and all times share theirs', () => {
    const [mf, fm] = ['checkerboard-meanflow-1', 'checkerboard-flow-matching-1'];
    const metrics = { loss: 1, 'error r=t': 2, ms: 3 };
    expect(drawn('meanflow', ...two(mf, metrics), ...two(fm, metrics), ...two('classifier'))).toEqual({
      'checkerboard: loss of MeanFlow': [mf],
      'checkerboard: error r=t': [mf, fm],
      'checkerboard: loss of flow matching': [fm],
      'classifier: loss': ['classifier'],
      'time per step': [mf, fm, 'classifier'],
    });
  });

  it('equal losses share axes, and repetitions are one method of one colour', () => {
    const names = ['figures-var-1', 'figures-concat-1', 'figures-var-2', 'figures-concat-2'];
    const [chart] = chartsOf(
      find('mvar'),
      names.flatMap((name) => two(name)),
      10,
    );
    expect(chart!.lines.map(({ series }) => series)).toEqual(names);
    expect(chart!.lines.map(({ method }) => method)).toEqual(['VAR', 'MVAR', 'VAR', 'MVAR']);
    expect(new Set(chart!.lines.map(({ color }) => color)).size).toBe(2);
  });

  it('students of other settings have other losses', () => {
    expect(
      drawn('sid', ...['ring8-sid-1-1', 'ring8-sid-2-1', 'ring8-alpha-05-1', 'ring8-teacher-1'].flatMap((name) => two(name, { loss: 1 }))),
    ).toEqual({
      'ring8: loss of the generator, α = 1': ['ring8-sid-1-1', 'ring8-sid-2-1'],
      'ring8: loss of the generator, alpha-05': ['ring8-alpha-05-1'],
      'ring8: loss of the teacher': ['ring8-teacher-1'],
    });
  });

  it('a series that the experiment does not know stands alone, and one point is no curve', () => {
    expect(drawn('vsa', ...two('full'), ...two('strange'), { series: 'once', step: 1, loss: 1 })).toEqual({
      'patch videos: loss': ['full'],
      'strange: loss': ['strange'],
      'time per step': ['full', 'strange'],
    });
  });

  it.each(['meanflow', 'mvar', 'swin-dit', 'sid', 'vsa', 'magi1'])('%s: no two methods of a chart have one colour', (name) => {
    const series = {
      meanflow: ['meanflow', 'flow-matching', 'tangent-v00', 'tangent-v10', 'tangent-v11', 'tangent-001', 'guided-omega-2-kappa-0'],
      mvar: ['var', 'concat', 'mixed', 'window-3', 'window-6', 'history-1', 'history-2'].map((one) => `figures-${one}-1`),
      'swin-dit': ['dit', 'window', 'swin', 'pswa', 'uniform', 'reversed', 'bridge'].map((one) => `field-${one}-1`),
      sid: ['none', 'lsg-2', 'lsg-4.5', 'long-4.5', 'zero', 'anti', 'zero-gan', 'none-gan'].map((one) => `guidance-${one}-2`),
      vsa: ['full', 'vsa', 'fine', 'local', 'random', 'annealed', 'direct', 'continued'],
      magi1: ['strip-window-0', 'strip-detached-0', 'strip-distilled'],
    }[name]!;
    const times = chartsOf(
      find(name),
      series.flatMap((one) => two(one)),
      10,
    ).at(-1)!;
    expect(times.lines).toHaveLength(series.length);
    expect(new Set(times.lines.map(({ color }) => color)).size).toBe(series.length);
    expect(new Set(times.lines.map(({ method }) => method)).size).toBe(series.length);
  });
});

describe('axes', () => {
  const values = fc.array(fc.double({ noNaN: true, min: -1e6, max: 1e6 }), { minLength: 1, maxLength: 20 });
  const order = (ticks: readonly number[]): boolean => ticks.every((tick, i) => i === 0 || tick > ticks[i - 1]!);

  it('hold every value between their ends, and their ticks are in order', () => {
    fc.assert(
      fc.property(values, (list) => {
        for (const axis of [stepAxis(list), valueAxis(list)]) {
          expect(order(axis.ticks)).toBe(true);
          for (const value of list) {
            expect(axis.place(value)).toBeGreaterThanOrEqual(-1e-9);
            expect(axis.place(value)).toBeLessThanOrEqual(1 + 1e-9);
          }
        }
      }),
    );
  });

  it('are logarithmic where positive values are far apart', () => {
    expect(valueAxis([1, 19]).log).toBe(false);
    expect(valueAxis([1, 21])).toMatchObject({ log: true, ticks: [1, 10, 100] });
    expect(valueAxis([0, 100]).log).toBe(false);
    expect(valueAxis([0.02, 3]).place(0.1)).toBeCloseTo(1 / 3, 12);
    expect(valueAxis([3, 3]).ticks.length).toBeGreaterThan(1);
  });
});

describe('words', () => {
  it('are explained where they stand, and only there', () => {
    expect(wordList('MF 4.9e-3; floor 2e-3')).toMatch(
      /^<dl class="words"><dt>floor<\/dt><dd>the same distance for a second set of true samples\..*<\/dd><\/dl>$/,
    );
    expect(wordList('Math.floors the fence')).toBe('');
  });
});
